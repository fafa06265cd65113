package policy

import (
	"errors"
	"reflect"
	"slices"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/env"
	"github.com/google/cel-go/ext"
	"go.yaml.in/yaml/v3"

	"github.com/probity-attest/probity/verifier/result"
)

// rule is a CEL expression and what is found where it holds.
type rule struct {
	name     string
	severity result.Severity
	part     result.Submod
	message  string
	action   string
	program  cel.Program
}

// excluded are the functions of CEL's standard library that read time zones, which differ between machines.
var excluded = []string{
	"getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds", "getMinutes",
	"getMonth", "getSeconds",
}

// environment returns what expressions are compiled against: the standard library without excluded, and the facts.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	subset := env.NewLibrarySubset()
	for _, name := range excluded {
		subset.AddExcludedFunctions(env.NewFunction(name))
	}
	return cel.NewCustomEnv(
		cel.StdLib(cel.StdLibSubset(subset)),
		ext.NativeTypes(
			reflect.TypeFor[deviceFacts](), reflect.TypeFor[resultFacts](), reflect.TypeFor[findingFacts](),
			reflect.TypeFor[claimsFacts](), reflect.TypeFor[regionFacts](), ext.ParseStructTags(true),
		),
		cel.Variable("device", cel.ObjectType("policy.deviceFacts")),
		cel.Variable("result", cel.ObjectType("policy.resultFacts")),
		cel.Variable("findings", cel.ListType(cel.ObjectType("policy.findingFacts"))),
		cel.Variable("claims", cel.ObjectType("policy.claimsFacts")),
		cel.Variable("now", cel.TimestampType),
		cel.ParserRecursionLimit(maxRecursion),
		cel.ParserExpressionSizeLimit(maxExpression),
	)
})

// rules reads the rules of a section and returns them after those of the default.
func (f field) rules(inherited []*rule) []*rule {
	out := slices.Clone(inherited)
	for _, e := range f.list(maxRules) {
		u := e.rule()
		if u.name != "" && slices.ContainsFunc(out, func(o *rule) bool { return o.name == u.name }) {
			e.fail("the name %q is taken: findings name the rule by it", u.name)
		}
		out = append(out, u)
	}
	if len(out) > maxRules {
		f.fail("%d rules with those of default, at most %d allowed", len(out), maxRules)
	}
	return out
}

func (f field) rule() *rule {
	u := &rule{part: result.Identity, action: "see the policy's rule, and mend what it is about"}
	var when *field
	before := len(f.problems)
	f.keys(map[string]func(field){
		"name":     func(f field) { u.name = f.word() },
		"when":     func(f field) { when = &f },
		"severity": func(f field) { u.severity = f.severity() },
		"message":  func(f field) { u.message = f.text(maxText) },
		"action":   func(f field) { u.action = f.text(maxText) },
		"part":     func(f field) { u.part = result.Submod(f.choice("identity", "boot", "runtime", "flash", "platform")) },
	})
	if len(f.problems) > before {
		return u
	}
	for _, need := range []struct {
		key, why string
		there    bool
	}{
		{"name", "findings name the rule by it", u.name != ""},
		{"when", "the expression", when != nil},
		{"severity", "what it weighs: info, warning or critical", u.severity != ""},
		{"message", "what it means, in a sentence", u.message != ""},
	} {
		if !need.there {
			f.fail("the key %s is missing: %s", need.key, need.why)
		}
	}
	if when != nil {
		u.program = when.expression(u.name)
	}
	return u
}

// expression compiles a rule's expression. Problems have the line of the document.
func (f field) expression(name string) cel.Program {
	text := f.text(maxExpression)
	if text == "" {
		return nil
	}
	e, err := environment()
	if err != nil {
		f.fail("rule %s: environment: %v", name, err)
		return nil
	}
	ast, issues := e.Compile(text)
	if issues.Err() != nil {
		for _, i := range issues.Errors() {
			f.problems = append(f.problems, Problem{
				Line: f.node.Line + f.offset(i.Location.Line()), Key: f.key,
				Detail: "rule " + name + ": " + i.Message,
			})
		}
		return nil
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		f.fail("rule %s: the expression is of type %s, want bool", name, ast.OutputType())
		return nil
	}
	program, err := e.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		f.fail("rule %s: %v", name, err)
		return nil
	}
	return program
}

// offset returns how many lines after the value's own the n-th line of the expression stands, as far as it can be told.
func (f field) offset(n int) int {
	if n < 1 {
		return 0
	}
	if f.node.Style&yaml.LiteralStyle != 0 {
		return n // the value begins on the line after its indicator
	}
	return n - 1
}

var errNotBool = errors.New("the expression gave no bool")

// eval evaluates the expression over facts.
func (u *rule) eval(facts map[string]any) (bool, error) {
	out, _, err := u.program.Eval(facts)
	if err != nil {
		return false, err
	}
	holds, ok := out.Value().(bool)
	if !ok { // the type was checked
		return false, errNotBool
	}
	return holds, nil
}
