/* SPDX-License-Identifier: MIT */
/* pare completion: what shells need to complete command lines, made of the table of commands.
 *
 * Both shells get the same two functions, made here: the flags of a command, and what may stand
 * behind a flag or as an argument. What differs between the shells is written out below, once.
 * Names are not written into the script: it asks the `pare` that is being completed. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static int contains(const char *text, const char *part) {
    return strstr(text, part) != NULL;
}

/* The words a value is chosen from, "@" and a kind of names that `pare list` has, "@files", or
 * nothing that could be completed. `value` is what --help shows: "a|b|c", "FILE.csv", "NAME". */
static void print_choices(const char *name, const char *value) {
    if (strcmp(value, "NAME|FILE") == 0)
        printf("@models @checkpoints @files");
    else if (strcmp(value, "METHOD|BACKEND") == 0)
        printf("@methods @backends");
    else if (contains(value, "FILE") || contains(value, "DIR") || contains(value, ".lua") ||
             contains(value, ".csv") || contains(value, ".so"))
        printf("@files");
    else if (contains(value, "NAME") &&
             (strcmp(name, "method") == 0 || strcmp(name, "backend") == 0 ||
              strcmp(name, "dataset") == 0))
        printf("@%ss", name);
    else if (strcmp(value, "NAME") == 0 && strncmp(name, "data ", 5) == 0)
        printf("@datasets");
    else if (contains(value, "|"))
        for (const char *c = value; *c; c++)
            putchar(*c == '|' ? ' ' : *c);
}

static void print_flags(void) {
    printf("_pare_flags() { # COMMAND: its flags\n    case $1 in\n");
    for (const struct command *c = cli_commands(); c->name; c++) {
        const struct flag *flags[CLI_MAX_FLAGS];
        size_t n = cli_flags(c, flags);
        printf("    '%s') echo '", c->name);
        for (size_t k = 0; k < n; k++)
            printf("%s--%s", k ? " " : "", flags[k]->name);
        printf("' ;;\n");
    }
    printf("    *) return 1 ;;\n    esac\n}\n");
}

static void print_values(void) {
    printf("_pare_values() { # 'COMMAND' or 'COMMAND --FLAG': what may follow; status 1: a switch\n"
           "    case $1 in\n");
    for (const struct command *c = cli_commands(); c->name; c++) {
        const struct flag *flags[CLI_MAX_FLAGS];
        size_t n = cli_flags(c, flags);
        printf("    '%s') echo '", c->name);
        print_choices(c->name, c->args);
        printf("' ;;\n");
        for (size_t k = 0; k < n; k++)
            if (flags[k]->value) {
                printf("    '%s --%s') echo '", c->name, flags[k]->name);
                print_choices(flags[k]->name, flags[k]->value);
                printf("' ;;\n");
            }
    }
    printf("    *) return 1 ;;\n    esac\n}\n");
}

/* The commands' first words, or the second words of each that has two. */
static void print_words(void) {
    printf("_pare_words() { # '' or the first word of a command of two: the words there are\n"
           "    case $1 in\n    '') echo '");
    const char *last = "";
    for (const struct command *c = cli_commands(); c->name; c++) {
        size_t n = strcspn(c->name, " ");
        if (strncmp(last, c->name, n) != 0 || strcspn(last, " ") != n)
            printf("%.*s ", (int)n, c->name);
        last = c->name;
    }
    printf("help --help --version' ;;\n");
    last = "";
    for (const struct command *c = cli_commands(); c->name; c++) {
        size_t n = strcspn(c->name, " ");
        int goes_on = strncmp(last, c->name, n + 1) == 0;
        if (last[0] && !goes_on)
            printf("' ;;\n");
        if (c->name[n] && !goes_on)
            printf("    %.*s) echo '%s", (int)n, c->name, c->name + n + 1);
        else if (c->name[n])
            printf(" %s", c->name + n + 1);
        last = c->name[n] ? c->name : "";
    }
    if (last[0])
        printf("' ;;\n");
    printf("    *) return 1 ;;\n    esac\n}\n");
}

/* Behind a flag, words of the shell are "--flag", or in bash "--flag" "=". Names may be a list:
 * "ref,ti" is completed to "ref,tiled". */
static const char both[] =
    "_pare_names() { # PARE KIND: names, as this pare lists them\n"
    "    \"$1\" list \"$2\" --format csv 2>/dev/null | tail -n +2 | cut -d, -f1\n"
    "}\n"
    "_pare_expand() { # PARE WORD...: words, with names in the place of @kinds\n"
    "    local program=$1 item\n"
    "    shift\n"
    "    for item in \"$@\"; do\n"
    "        case $item in\n"
    "        @files) ;;\n"
    "        @*) _pare_names \"$program\" \"${item#@}\" ;;\n"
    "        *) echo \"$item\" ;;\n"
    "        esac\n"
    "    done\n"
    "}\n";

static const char bash_begin[] = "# bash completion of pare; made by `pare completion bash`\n";
static const char bash_end[] =
    "_pare() {\n"
    "    local program=$1 word=$2 flag=$3 command=${COMP_WORDS[1]} values list= IFS=$' "
    "\\t\\n'\n"
    "    COMPREPLY=()\n"
    "    if ((COMP_CWORD == 1)); then\n"
    "        COMPREPLY=($(compgen -W \"$(_pare_words '')\" -- \"$word\"))\n"
    "        return\n"
    "    fi\n"
    "    if ! _pare_flags \"$command\" >/dev/null; then\n"
    "        if ((COMP_CWORD == 2)); then\n"
    "            COMPREPLY=($(compgen -W \"$(_pare_words \"$command\")\" -- \"$word\"))\n"
    "            return\n"
    "        fi\n"
    "        command=\"$command ${COMP_WORDS[2]}\"\n"
    "    fi\n"
    "    if [[ $word == = ]]; then\n"
    "        word=\n"
    "    elif [[ $flag == = ]]; then\n"
    "        flag=${COMP_WORDS[COMP_CWORD - 2]}\n"
    "    fi\n"
    "    [[ $flag == -o ]] && flag=--out\n"
    "    if ! values=$(_pare_values \"$command $flag\"); then\n"
    "        if [[ $word == -* ]]; then\n"
    "            COMPREPLY=($(compgen -W \"$(_pare_flags \"$command\")\" -- \"$word\"))\n"
    "            return\n"
    "        fi\n"
    "        values=$(_pare_values \"$command\")\n"
    "    fi\n"
    "    [[ $values == @backends && $word == *,* ]] && list=${word%,*},\n"
    "    set -f\n"
    "    COMPREPLY=($(compgen -P \"$list\" -W \"$(_pare_expand \"$program\" $values)\" -- "
    "\"${word#\"$list\"}\"))\n"
    "    set +f\n"
    "    if [[ $values == *@files* ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        local IFS=$'\\n'\n"
    "        COMPREPLY+=($(compgen -f -- \"$word\"))\n"
    "    fi\n"
    "}\n"
    "complete -F _pare pare\n";

static const char zsh_begin[] = "#compdef pare\n# made by `pare completion zsh`\n";
static const char zsh_end[] =
    "_pare() {\n"
    "    local program=${words[1]} word=${PREFIX} flag=${words[CURRENT-1]} command=${words[2]} "
    "values\n"
    "    if ((CURRENT == 2)); then\n"
    "        compadd -- ${=$(_pare_words '')}\n"
    "        return\n"
    "    fi\n"
    "    if ! _pare_flags \"$command\" >/dev/null; then\n"
    "        if ((CURRENT == 3)); then\n"
    "            compadd -- ${=$(_pare_words \"$command\")}\n"
    "            return\n"
    "        fi\n"
    "        command=\"$command ${words[3]}\"\n"
    "    fi\n"
    "    if [[ $word == --*=* ]]; then\n"
    "        flag=${word%%=*}\n"
    "        compset -P '*='\n"
    "        word=$PREFIX\n"
    "    fi\n"
    "    [[ $flag == -o ]] && flag=--out\n"
    "    if ! values=$(_pare_values \"$command $flag\"); then\n"
    "        if [[ $word == -* ]]; then\n"
    "            compadd -- ${=$(_pare_flags \"$command\")}\n"
    "            return\n"
    "        fi\n"
    "        values=$(_pare_values \"$command\")\n"
    "    fi\n"
    "    [[ $values == @backends ]] && compset -P '*,'\n"
    "    compadd -- ${(f)\"$(_pare_expand \"$program\" ${=values})\"}\n"
    "    [[ $values == *@files* ]] && _files\n"
    "    return 0\n"
    "}\n"
    "if [[ ${funcstack[1]} == _pare ]]; then\n" /* autoloaded from $fpath */
    "    _pare \"$@\"\n"
    "else\n"
    "    compdef _pare pare\n"
    "fi\n";

int completion_command(struct cli *cli) {
    struct error err;
    const char *shell = cli->args[0];
    int is_zsh = strcmp(shell, "zsh") == 0;
    if (!is_zsh && strcmp(shell, "bash") != 0) {
        error_set(&err, PARE_E_ARG, "'%s' is no shell known here, wanted bash or zsh", shell);
        return cli_fail(cli, &err);
    }
    fputs(is_zsh ? zsh_begin : bash_begin, stdout);
    print_words();
    print_flags();
    print_values();
    fputs(both, stdout);
    fputs(is_zsh ? zsh_end : bash_end, stdout);
    return CLI_DONE;
}
