#!/sbin/openrc-run
# probity-verifier on Alpine Linux.

name="Probity verifier"
description="attests devices and their firmware"
supervisor=supervise-daemon
command=/usr/bin/probity-verifier
command_args="--config /etc/probity/verifier.yaml"
command_user="probity:probity"
no_new_privs="yes"
respawn_delay=10
respawn_max=0
output_logger="logger -t probity-verifier"
error_logger="logger -t probity-verifier"

depend() {
	need net
	after clock
}

start_pre() {
	checkpath --directory --owner probity:probity --mode 0700 /var/lib/probity-verifier
}
