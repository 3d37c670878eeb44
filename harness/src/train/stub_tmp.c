/* placeholder until the first source of this folder lands */
typedef int train_placeholder;
