/* placeholder until the first source of this folder lands */
typedef int model_placeholder;
