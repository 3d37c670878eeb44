/* placeholder until the first source of this folder lands */
typedef int record_placeholder;
