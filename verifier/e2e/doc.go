// Package e2e tests agent and verifier together: real swtpm, real MQTT over TLS, real SQLite. It is the only place where
// both sides meet; package virtual makes its devices, cmd/probity-demo shows them, cmd/probity-bench measures.
package e2e
