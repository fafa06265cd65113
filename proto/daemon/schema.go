package daemon

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// field is one key of a configuration.
type field struct {
	key    string // such as "log.format"
	doc    string
	secret bool
	value  reflect.Value // settable
}

// flag returns the name of the field's flag.
func (f field) flag() string { return strings.ReplaceAll(f.key, ".", "-") }

// env returns the name of the field's environment variable.
func (f field) env(prefix string) string {
	return prefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(f.key))
}

// fields lists the keys of cfg, a pointer to a struct, in the order of its fields. It panics on a struct that breaks the
// rules of the package comment: that is a mistake in the program, which its first test run shows.
func fields(cfg any) []field {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("daemon: configuration must be a pointer to a struct, got %T", cfg))
	}
	return structFields("", v.Elem())
}

func structFields(prefix string, v reflect.Value) []field {
	var out []field
	for i := range v.NumField() {
		t := v.Type().Field(i)
		key, ok := t.Tag.Lookup("koanf")
		if !ok {
			continue // not configurable
		}
		if key == "" || strings.ContainsAny(key, ". _") || key != strings.ToLower(key) {
			panic(fmt.Sprintf("daemon: field %s: key %q must be lower case, with dashes", t.Name, key))
		}
		if section(v.Field(i)) {
			out = append(out, structFields(prefix+key+".", v.Field(i))...)
			continue
		}
		doc := t.Tag.Get("doc")
		if doc == "" {
			panic(fmt.Sprintf("daemon: field %s has no doc tag", t.Name))
		}
		out = append(out, field{key: prefix + key, doc: doc, secret: t.Tag.Get("secret") == "true", value: v.Field(i)})
	}
	return out
}

// section reports whether v holds further keys instead of a value.
func section(v reflect.Value) bool {
	if v.Kind() != reflect.Struct {
		return false
	}
	_, text := v.Addr().Interface().(encoding.TextUnmarshaler)
	return !text
}

// index finds fields and sections by key.
type index struct {
	fields   map[string]field
	sections map[string]bool
}

func newIndex(list []field) index {
	x := index{fields: map[string]field{}, sections: map[string]bool{"": true}}
	for _, f := range list {
		x.fields[f.key] = f
		for i, c := range f.key {
			if c == '.' {
				x.sections[f.key[:i]] = true
			}
		}
	}
	return x
}

// siblings returns the names that may stand in a section.
func (x index) siblings(section string) []string {
	if section != "" {
		section += "."
	}
	var out []string
	add := func(key string) {
		if rest, ok := strings.CutPrefix(key, section); ok && rest != "" && !strings.Contains(rest, ".") {
			out = append(out, rest)
		}
	}
	for k := range x.fields {
		add(k)
	}
	for k := range x.sections {
		add(k)
	}
	return out
}
