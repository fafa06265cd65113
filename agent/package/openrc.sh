#!/sbin/openrc-run
# probity-agent on Alpine Linux.

name="Probity agent"
description="reports what this device booted and runs, signed by its TPM"
supervisor=supervise-daemon
command=/usr/bin/probity-agent
command_args="run"
no_new_privs="yes"
respawn_delay=30
respawn_max=0
output_logger="logger -t probity-agent"
error_logger="logger -t probity-agent"

depend() {
	need net
	after clock
}

start_pre() {
	checkpath --directory --mode 0700 /var/lib/probity-agent
}
