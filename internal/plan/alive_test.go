//go:build linux

package plan

import (
	"os"
	"testing"
)

// A number that another process has by now is not the program.
func TestAlive(t *testing.T) {
	t.Parallel()
	host, _ := os.Hostname()
	self := os.Getpid()
	for _, c := range []struct {
		name string
		child
		want bool
	}{
		{"itself", child{self, began(self), host}, true},
		{"started at another time", child{self, began(self) + "0", host}, false},
		{"before a reboot", child{self, "00000000-0000-0000-0000-000000000000:1", host}, false},
		{"of another machine", child{self, began(self), host + "x"}, false},
		{"gone", child{1 << 30, "", host}, false},
		{"none", child{0, "", host}, false},
	} {
		if c.alive() != c.want {
			t.Errorf("%s: %t", c.name, !c.want)
		}
	}
	if began(self) == "" {
		t.Error("the start of this process is not known")
	}
}
