# template_lines.sh FILE...: a template that is read in one go has fewer than 150 lines.
for file in "$@"; do
    n=$(wc -l <"$file")
    [ "$n" -lt 150 ] || {
        echo "$file has $n lines, wanted fewer than 150"
        exit 1
    }
done
