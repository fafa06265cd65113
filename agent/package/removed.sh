#!/bin/sh
# After removal. The state directory holds a certificate and, without a TPM, the device's key: it stays.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
