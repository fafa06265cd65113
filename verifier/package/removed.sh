#!/bin/sh
# After removal. The state directory holds the verifier's keys and all evidence: it stays, also when the package is purged.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
