package access

import "context"

type unnoticedKey struct{}

// Unnoticed returns a context in which looking at a session does not count as using it: a page that lies open and only
// listens must not keep its session from ending for lack of use.
func Unnoticed(ctx context.Context) context.Context {
	return context.WithValue(ctx, unnoticedKey{}, true)
}

func noticed(ctx context.Context) bool { return ctx.Value(unnoticedKey{}) == nil }
