// Package image builds what the machines of real boots boot: initial RAM disks, unified kernel images, disks with an
// EFI system partition, signatures for Secure Boot, and firmware that was tampered with.
//
// Equal inputs give equal bytes: owners, times and identifiers are fixed, signatures carry no time. What a machine
// measures can so be computed before it boots, and two builds of one device are one device. (The compression is the Go
// library's: another version of Go may pack to other bytes.)
//
// Everything is a pure function of bytes, except for ReadKey, Modules and NewKey. Inputs are packages of a distribution
// and programs built here; what does not have the expected form is an error, never half a result.
package image
