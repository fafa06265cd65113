#!/bin/sh
# Before installation on Alpine: the user as which the verifier runs. systemd makes one of its own.
set -e
addgroup -S probity 2>/dev/null || true
adduser -S -D -H -h /var/lib/probity-verifier -s /sbin/nologin -G probity -g "Probity verifier" probity 2>/dev/null || true
