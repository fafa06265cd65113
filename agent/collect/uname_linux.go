package collect

import "syscall"

// uname returns the kernel's release and the machine's architecture (uname(2)), empty where the call fails.
func uname() (release, machine string) {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return "", ""
	}
	return chars(u.Release[:]), chars(u.Machine[:])
}

// chars makes a string of a C string, whose type differs by architecture.
func chars[T int8 | uint8](in []T) string {
	b := make([]byte, 0, len(in))
	for _, c := range in {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}
