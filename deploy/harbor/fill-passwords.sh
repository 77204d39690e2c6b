#!/bin/sh
# Make harbor.yml from harbor.yml.tmpl and two password files.
#
# Harbor reads harbor.yml as plain YAML, so the passwords have to stand in it.  They come from
# secrets/admin-password and secrets/database-password beside this script; a missing one is
# made, with 20 random bytes.  All that is written here can be read by its owner alone.
#
# Prints "changed" or "unchanged", never a password.
set -eu
umask 077
cd "$(dirname "$0")"

fail() {
    echo "fill-passwords.sh: $1" >&2
    exit 1
}

check() {
    [ -e "$1" ] || (head -c 20 /dev/urandom | base64 >"$1.new" && mv "$1.new" "$1")
    chmod 600 "$1"
    # Without -r or IFS, `read` would change what is in the file.
    IFS= read -r password <"$1" || [ -n "$password" ] || fail "$1 is empty"
    # These two are in Harbor's own template, so everyone who finds this host tries them first.
    case $password in
    Harbor12345 | root123) fail "$1 holds the password that Harbor ships; delete the file to get a random one" ;;
    esac
    [ "${#password}" -ge 12 ] || fail "$1 is shorter than 12 characters"
    # Other characters mean something to YAML, to docker compose's env files or to Harbor's
    # database URL, and would come out as another password there.
    case $password in
    *[!A-Za-z0-9._~+/=-]*) fail "$1 may hold only letters, digits and ._~+/=-" ;;
    esac
}

[ -e harbor.yml.tmpl ] || fail "harbor.yml.tmpl is not beside this script"
mkdir -p secrets
check secrets/admin-password
check secrets/database-password

# awk reads the passwords by itself: on a command line, every user of the machine could see them.
awk '
    BEGIN {
        getline admin <"secrets/admin-password"
        getline database <"secrets/database-password"
    }
    {
        sub(/@HARBOR_ADMIN_PASSWORD@/, admin)
        sub(/@HARBOR_DATABASE_PASSWORD@/, database)
        print
    }
' harbor.yml.tmpl >harbor.yml.new

if cmp -s harbor.yml.new harbor.yml; then
    rm harbor.yml.new
    chmod 600 harbor.yml
    echo unchanged
else
    # A rename is all or nothing: `prepare` never meets half a file.
    mv harbor.yml.new harbor.yml
    echo changed
fi
