/* placeholder until the first source of this folder lands */
typedef int script_placeholder;
