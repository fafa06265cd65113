#!/bin/sh
# After installation and upgrade, on systemd. A verifier that runs goes on with the new program; nothing listens on a
# machine before its administrator says so: systemctl enable --now probity-verifier.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart probity-verifier.service || true
fi
