//go:build linux

package machine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// gpioLine is how QEMU names an input.
type gpioLine struct {
	path     string // of the device in QEMU's object tree
	property string // for QMP; zero: there is none, and line is driven by qtest
	line     uint32
}

// aspeedGPIO: the AST2600's two controllers have a property for every line, named by its port and bit: gpioA0 is line 0,
// gpioAA0 line 208 of the first (which has 26 ports of 8 lines and goes on with AA to AC).
func aspeedGPIO(chip string, line uint32) (gpioLine, error) {
	var path, group string
	port := line / 8
	switch {
	case chip == "/dev/gpiochip0" && line < 208:
		path, group = "/machine/soc/gpio", string(rune('A'+port))
	case chip == "/dev/gpiochip1" && line < 36: // 1.8 volts
		path, group = "/machine/soc/gpio_1_8v", "18"+string(rune('A'+port))
	default:
		return gpioLine{}, fmt.Errorf("no line %d of %s: /dev/gpiochip0 has 208, /dev/gpiochip1 36", line, chip)
	}
	return gpioLine{path: path, property: fmt.Sprintf("gpio%s%d", group, line%8)}, nil
}

// imxGPIO: the i.MX6 has seven controllers of 32 lines, whose inputs are no properties.
func imxGPIO(chip string, line uint32) (gpioLine, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(chip, "/dev/gpiochip"))
	if err != nil || n < 0 || n > 6 || line > 31 {
		return gpioLine{}, fmt.Errorf("no line %d of %s: /dev/gpiochip0 to 6 have 32 each", line, chip)
	}
	return gpioLine{path: fmt.Sprintf("/machine/soc/gpio%d", n+1), line: line}, nil
}

// SetGPIO drives an input of the machine from outside, as a switch in its case would. chip and line are those that the
// guest's kernel gives it (guest.GPIOArgs).
func (m *Machine) SetGPIO(ctx context.Context, chip string, line uint32, high bool) error {
	find := models[m.spec.Board].gpio
	if find == nil {
		return fmt.Errorf("set GPIO: %s has no lines that the host can drive", m.spec.Board)
	}
	g, err := find(chip, line)
	if err != nil {
		return fmt.Errorf("set GPIO: %s: %w", m.spec.Board, err)
	}
	if g.property == "" {
		m.mu.Lock()
		q := m.qtest
		m.mu.Unlock()
		if q == nil {
			return fmt.Errorf("set GPIO: %w", ErrEnded)
		}
		return q.setInput(ctx, g.path, "unnamed-gpio-in", g.line, high)
	}
	return m.QMP(ctx, "qom-set", map[string]any{"path": g.path, "property": g.property, "value": high}, nil)
}
