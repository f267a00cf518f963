# refused: SC2086
# shellcheck shell=bash
file="a name with spaces"
rm $file
