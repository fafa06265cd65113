#!/bin/sh
# After installation and upgrade, on systemd. An agent that runs goes on with the new program; one that was never started
# stays so, for it does not know its verifier yet.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart probity-agent.service || true
fi
