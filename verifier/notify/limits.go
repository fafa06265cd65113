package notify

import "time"

// Limits on what rules and channels may ask, on what receivers answer and on what the notifier does at a time.
const (
	maxURL        = 1024
	maxAnswer     = 4 << 10 // bytes of a receiver's answer that are read
	maxError      = 400     // bytes of an error that are kept
	maxTitle      = 300     // bytes
	maxText       = 600     // bytes of one text of a finding in a message
	maxSyslog     = 8192    // bytes of a syslog message over TCP and TLS (RFC 5425, section 4.3.1: at least 8192 should be taken)
	maxDatagram   = 2048    // bytes of a syslog message over UDP (RFC 5426, section 3.2: 2048 should be taken)
	minSecret     = 16      // bytes of a webhook's key
	maxRecipients = 32
	workPage      = 250 // devices that are compared with the rules in one transaction
	alertPage     = 250 // alerts that are looked at in one step
	sendPage      = 16  // deliveries of one channel that are sent in a row
	sendersAtOnce = 8   // channels that send at the same time
)

// Times of the notifier.
const (
	defaultWait    = 30 * time.Second
	defaultRepeat  = 4 * time.Hour
	pollEvery      = time.Second // how often the store is asked whether there is work
	rescanEvery    = time.Hour   // how often all devices are compared with all rules, whatever changed
	tendEvery      = time.Minute // how often what is too old is given up and deleted
	keepFor        = 90 * 24 * time.Hour
	sendTimeout    = 15 * time.Second // of one attempt
	firstRetry     = 5 * time.Second
	longestRetry   = time.Hour
	giveUpAfter    = 24 * time.Hour   // since the delivery was made, or was asked for again
	refreshEvery   = 30 * time.Minute // how often Alertmanager is told that an alert lasts
	forgetAfter    = 2 * time.Hour    // when Alertmanager takes an alert for resolved that it hears no more of
	syslogFarewell = time.Second      // how long a syslog receiver may take to refuse what was sent
)
