#!/bin/sh /etc/rc.common
# probity-agent on OpenWrt. State is beside the configuration, for /var is lost at every start there.

USE_PROCD=1
START=95
STOP=05

start_service() {
	mkdir -p /etc/probity/state
	procd_open_instance
	procd_set_param command /usr/bin/probity-agent run --state-dir /etc/probity/state
	procd_set_param file /etc/probity/agent.yaml
	procd_set_param respawn 3600 30 0
	procd_set_param nice 10
	procd_set_param no_new_privs 1
	procd_set_param stdout 1
	procd_set_param stderr 1
	procd_close_instance
}

service_triggers() {
	procd_add_reload_trigger probity
}
