/* placeholder until the first source of this folder lands */
typedef int experiment_placeholder;
