// Package daemon is what both daemons of Probity, agent and verifier, do the same way towards the people and the system
// that run them: strict configuration, structured logs and notification of systemd. It lives below proto because
// neither daemon may import the other.
//
// Configuration is one struct per daemon. Its fields carry two tags, `koanf` (the key) and `doc` (one sentence), and a
// third, `secret:"true"`, where the value must not be shown; its values before Load are the defaults. Nested structs
// are sections. From that one struct follow the file's keys, the environment variables, the flags and their help:
//
//	key log.format  ->  log: {format: json}  ->  PROBITY_AGENT_LOG_FORMAT=json  ->  --log-format json
//
// A value comes from, in rising precedence, the default, the file, the environment, the command line. Whatever is not
// understood (unknown key, wrong type, duplicate key) is an error that says where it stands and what was expected:
// a typo in a configuration must never silently turn a check off.
//
// Fields may be string, bool, integers, floats, time.Duration, Size, []string, map[string]string, any type with
// UnmarshalText, and lists of structs of these (file only). Files are YAML without aliases, at most 1 MiB.
package daemon
