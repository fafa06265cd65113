package daemon

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// set stores raw (string, []any or map[string]any, with strings at the leaves) in v. Errors say what was expected.
func set(v reflect.Value, raw any) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		s, ok := raw.(string)
		if !ok {
			return wrongShape("one value", raw)
		}
		return u.UnmarshalText([]byte(s))
	}
	switch v.Kind() {
	case reflect.Slice:
		return setList(v, raw)
	case reflect.Map:
		return setMap(v, raw)
	case reflect.Struct:
		return setStruct(v, raw)
	}
	s, ok := raw.(string)
	if !ok {
		return wrongShape(want(v.Type()), raw)
	}
	return setScalar(v, s)
}

func setScalar(v reflect.Value, s string) error {
	var err error
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		var d time.Duration
		d, err = time.ParseDuration(s)
		v.SetInt(int64(d))
	case v.Kind() == reflect.String:
		v.SetString(s)
	case v.Kind() == reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(s)
		v.SetBool(b)
	case v.CanInt():
		var n int64
		n, err = strconv.ParseInt(s, 10, v.Type().Bits())
		v.SetInt(n)
	case v.CanUint():
		var n uint64
		n, err = strconv.ParseUint(s, 10, v.Type().Bits())
		v.SetUint(n)
	case v.CanFloat():
		var x float64
		x, err = strconv.ParseFloat(s, v.Type().Bits())
		v.SetFloat(x)
	default:
		panic(fmt.Sprintf("daemon: type %s is not supported in a configuration", v.Type()))
	}
	if err != nil {
		return fmt.Errorf("value %q: want %s", clip(s), want(v.Type()))
	}
	return nil
}

func setList(v reflect.Value, raw any) error {
	var items []any
	switch r := raw.(type) {
	case []any:
		items = r
	case string: // environment and flags
		items = []any{}
		for part := range strings.SplitSeq(r, ",") {
			if part = strings.TrimSpace(part); part != "" {
				items = append(items, part)
			}
		}
	default:
		return wrongShape(want(v.Type()), raw)
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if err := set(out.Index(i), item); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	v.Set(out)
	return nil
}

func setMap(v reflect.Value, raw any) error {
	items := map[string]any{}
	switch r := raw.(type) {
	case map[string]any:
		items = r
	case string:
		for part := range strings.SplitSeq(r, ",") {
			name, value, ok := strings.Cut(part, "=")
			if !ok {
				return fmt.Errorf("value %q: want %s", clip(r), want(v.Type()))
			}
			items[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	default:
		return wrongShape(want(v.Type()), raw)
	}
	out := reflect.MakeMapWithSize(v.Type(), len(items))
	for name, item := range items {
		e := reflect.New(v.Type().Elem()).Elem()
		if err := set(e, item); err != nil {
			return fmt.Errorf("entry %q: %w", clip(name), err)
		}
		out.SetMapIndex(reflect.ValueOf(name), e)
	}
	v.Set(out)
	return nil
}

// setStruct fills a struct that is an item of a list.
func setStruct(v reflect.Value, raw any) error {
	items, ok := raw.(map[string]any)
	if !ok {
		return wrongShape("a map of keys", raw)
	}
	x := newIndex(structFields("", v))
	for name, item := range items {
		f, ok := x.fields[name]
		if !ok {
			return fmt.Errorf("unknown key %q%s", clip(name), DidYouMean(name, x.siblings("")))
		}
		if err := set(f.value, item); err != nil {
			return fmt.Errorf("key %q: %w", name, err)
		}
	}
	return nil
}

// want names the values of a type for people.
func want(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration such as 30s, 5m or 24h"
	case t.Kind() == reflect.String:
		return "one text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return "a list of maps"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Map:
		return "a map (in the environment and on the command line: name=value,name=value)"
	}
	v := reflect.New(t).Elem()
	switch {
	case v.CanInt():
		return fmt.Sprintf("a whole number of %d bits", t.Bits())
	case v.CanUint():
		return fmt.Sprintf("a whole number of %d bits, not negative", t.Bits())
	case v.CanFloat():
		return "a number"
	}
	return "one value"
}

func wrongShape(want string, raw any) error {
	switch raw.(type) {
	case []any:
		return fmt.Errorf("is a list: want %s", want)
	case map[string]any:
		return fmt.Errorf("is a map: want %s", want)
	}
	return fmt.Errorf("value %q: want %s", clip(fmt.Sprint(raw)), want)
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
