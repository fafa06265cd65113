package daemon

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// hidden stands for a secret that is set.
const hidden = "(hidden)"

// Describe returns a text that lists every key of cfg with its meaning, its value (before Load, the default) and the
// names under which environment and command line know it.
func Describe(cfg any, envPrefix string) string {
	var b strings.Builder
	for _, f := range fields(cfg) {
		fmt.Fprintf(&b, "%s\n    %s\n    default: %s\n", f.key, f.doc, orNone(text(f.value, f.secret)))
		if envPrefix != "" {
			fmt.Fprintf(&b, "    environment: %s\n", f.env(envPrefix))
		}
		if t := f.value.Type(); t.Kind() != reflect.Slice || t.Elem().Kind() != reflect.Struct {
			fmt.Fprintf(&b, "    flag: --%s\n", f.flag())
		}
	}
	return b.String()
}

// Show returns the values of cfg as a configuration file, secrets hidden.
func Show(cfg any) (string, error) {
	root := map[string]any{}
	for _, f := range fields(cfg) {
		m, path := root, strings.Split(f.key, ".")
		for _, p := range path[:len(path)-1] {
			next, ok := m[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				m[p] = next
			}
			m = next
		}
		m[path[len(path)-1]] = plain(f.value, f.secret)
	}
	b, err := yaml.Marshal(root)
	if err != nil {
		return "", fmt.Errorf("show configuration: %w", err)
	}
	return string(b), nil
}

// plain returns a value as YAML should print it.
func plain(v reflect.Value, secret bool) any {
	switch {
	case secret:
		return text(v, true)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		items := make([]any, v.Len())
		for i := range items {
			m := map[string]any{}
			for _, f := range structFields("", v.Index(i)) {
				m[f.key] = plain(f.value, f.secret)
			}
			items[i] = m
		}
		return items
	case v.Kind() == reflect.Slice, v.Kind() == reflect.Map, v.Kind() == reflect.Bool:
		return v.Interface()
	case (v.CanInt() || v.CanUint()) && !isText(v):
		return v.Interface()
	}
	return text(v, false)
}

// text returns a value as one text.
func text(v reflect.Value, secret bool) string {
	if secret {
		if v.IsZero() {
			return ""
		}
		return hidden
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		b, err := m.MarshalText()
		if err == nil {
			return string(b)
		}
	}
	switch v.Kind() {
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = fmt.Sprint(v.Index(i).Interface())
		}
		return strings.Join(parts, ",")
	case reflect.Map:
		var parts []string
		for _, k := range v.MapKeys() {
			parts = append(parts, fmt.Sprintf("%v=%v", k, v.MapIndex(k)))
		}
		slices.Sort(parts)
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v.Interface())
}

func isText(v reflect.Value) bool {
	_, m := v.Interface().(encoding.TextMarshaler)
	_, s := v.Interface().(fmt.Stringer)
	return m || s
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
