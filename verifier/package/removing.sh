#!/bin/sh
# Before removal (deb: "remove", rpm: 0 packages left), not before an upgrade.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now probity-verifier.service || true
	fi
	;;
esac
