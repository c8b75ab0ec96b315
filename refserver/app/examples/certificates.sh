#!/bin/sh
# /etc/letsencrypt/renewal-hooks/deploy/refserver
#
# Puts a library's certificate where refserver looks for it: private key and chain in one file, which only the
# server's user can read. certbot calls this after each renewal, with RENEWED_LINEAGE and RENEWED_DOMAINS set.
# rooms.DOMAIN needs no file of its own: refserver shows the library's, which must name it too.
set -eu
certificates=${CERTIFICATES:-/etc/refserver/certs}
user=${SERVER_USER:-refserver}
umask 077
for domain in $RENEWED_DOMAINS; do
    case $domain in
    rooms.* | \**) continue ;;
    esac
    cat "$RENEWED_LINEAGE/privkey.pem" "$RENEWED_LINEAGE/fullchain.pem" >"$certificates/.$domain.new"
    chown "$user" "$certificates/.$domain.new"
    mv "$certificates/.$domain.new" "$certificates/$domain.pem"
done
if systemctl is-active --quiet refserver; then
    systemctl reload refserver
fi
