package daemon

import (
	"reflect"
	"strings"

	"github.com/spf13/pflag"
)

// AddFlags gives fs one flag for each key of cfg that is not a list of structs, with the key's doc as help. Values are
// checked when they are parsed; Load applies those that were given. A flag that fs already has is left alone.
func AddFlags(fs *pflag.FlagSet, cfg any) {
	for _, f := range fields(cfg) {
		t := f.value.Type()
		if fs.Lookup(f.flag()) != nil || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
			continue
		}
		v := &flagValue{typ: t, initial: text(f.value, f.secret)}
		flag := fs.VarPF(v, f.flag(), "", f.doc)
		if t.Kind() == reflect.Bool {
			flag.NoOptDefVal = "true"
		}
	}
}

// flagValue is a pflag.Value of any type that a configuration may hold.
type flagValue struct {
	typ     reflect.Type
	initial string
	given   []string
}

// Set implements pflag.Value: a list takes a value more, everything else is replaced.
func (v *flagValue) Set(s string) error {
	if err := set(reflect.New(v.typ).Elem(), s); err != nil {
		return err
	}
	if v.typ.Kind() != reflect.Slice {
		v.given = nil
	}
	v.given = append(v.given, s)
	return nil
}

// String implements pflag.Value.
func (v *flagValue) String() string {
	if v.given == nil {
		return v.initial
	}
	return strings.Join(v.given, ",")
}

// Type implements pflag.Value: the placeholder in the help.
func (v *flagValue) Type() string {
	switch {
	case v.typ.String() == "time.Duration":
		return "duration"
	case v.typ == reflect.TypeFor[Size]():
		return "size"
	case v.typ.Kind() == reflect.Slice:
		return "list"
	case v.typ.Kind() == reflect.Map:
		return "name=value"
	case v.typ.Kind() == reflect.Bool:
		return "bool"
	}
	return "value"
}

func (v *flagValue) raw() any { return strings.Join(v.given, ",") }
