#!/bin/sh
# Installs the servers and clients that tests/interop talks to, through apt, where that is allowed.
#
# Quick when nothing is missing. Where something cannot be installed, a plain notice: the tests that need it
# are skipped. In CI (CI=true) that is a failure. No daemon is started: each test starts its own peer.
set -u

# command:package
PEERS="openssl:openssl prosody:prosody ejabberdctl:ejabberd profanity:profanity tmux:tmux node:nodejs npm:npm biboumi:biboumi dnsmasq:dnsmasq-base"

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

missing_packages() {
    for peer in $PEERS; do
        command -v "${peer%%:*}" >/dev/null 2>&1 || printf '%s ' "${peer#*:}"
    done
}

# Debian's maintainer scripts ask policy-rc.d whether a service may start: 101 is no.
forbid_services() {
    [ -e /usr/sbin/policy-rc.d ] && return
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT INT TERM
}

install() {
    export DEBIAN_FRONTEND=noninteractive
    forbid_services
    # shellcheck disable=SC2086 # a list of packages
    apt-get install -qq -y --no-install-recommends $1 >/dev/null 2>&1 || {
        apt-get update -qq && apt-get install -qq -y --no-install-recommends $1 >/dev/null
    }
    for service in prosody ejabberd biboumi; do
        case " $1 " in *" $service "*) systemctl disable --quiet "$service" >/dev/null 2>&1 ;; esac
    done
}

missing=$(missing_packages)
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing peers for the tests: $missing"
    install "$missing"
    missing=$(missing_packages)
    [ -z "$missing" ] && exit 0
fi

if [ "${CI:-}" = true ]; then
    echo "Missing peers, and CI=true: $missing" >&2
    exit 1
fi
echo "Missing peers: $missing- the tests that need them are skipped. As root: apt install $missing"
