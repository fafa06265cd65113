#!/bin/sh /etc/rc.common
# probity-verifier on OpenWrt, for a gateway that looks after its own devices. /var is lost at every start there.

USE_PROCD=1
START=90
STOP=10

start_service() {
	mkdir -p /etc/probity/verifier
	procd_open_instance
	procd_set_param command /usr/bin/probity-verifier --config /etc/probity/verifier.yaml --state-dir /etc/probity/verifier
	procd_set_param file /etc/probity/verifier.yaml
	procd_set_param respawn 3600 10 0
	procd_set_param no_new_privs 1
	procd_set_param stdout 1
	procd_set_param stderr 1
	procd_close_instance
}

service_triggers() {
	procd_add_reload_trigger probity
}
