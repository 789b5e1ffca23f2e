package naming

import (
	"fmt"
	"strconv"
	"strings"
)

// PortRange is an inclusive range of TCP ports.
type PortRange struct{ Lo, Hi int }

// DefaultPorts is the range of a project that names none.
func DefaultPorts() PortRange { return PortRange{5400, 5999} }

// ParsePortRange reads "5400-5999": two ports from 1 to 65535, the lower first.
func ParsePortRange(s string) (PortRange, error) {
	lo, hi, ok := strings.Cut(s, "-")
	l, err1 := strconv.ParseUint(lo, 10, 16)
	h, err2 := strconv.ParseUint(hi, 10, 16)
	if !ok || err1 != nil || err2 != nil || l == 0 || h < l {
		return PortRange{}, fmt.Errorf("port range %q: want <first>-<last>, such as 5400-5999, within 1 to 65535", s)
	}
	return PortRange{int(l), int(h)}, nil
}

// Size returns how many ports the range holds.
func (p PortRange) Size() int { return p.Hi - p.Lo + 1 }

// String returns the range as ParsePortRange reads it.
func (p PortRange) String() string { return fmt.Sprintf("%d-%d", p.Lo, p.Hi) }

// At returns the i-th choice of a subject whose first choice is first: the
// next ports in turn, from the range's end on to its beginning.
func (p PortRange) At(first, i int) int { return p.Lo + (first-p.Lo+i)%p.Size() }

// Port returns a service's first choice: lo + cksum mod size, of the suffix for
// the base service and of <suffix>/<service> for any other. Two subjects may
// share a first choice; the registry then probes onwards with PortRange.At.
func (r Rules) Port(env, branch, workspace, service string) int {
	port, _ := r.port(r.Suffix(env, branch, workspace), service)
	return port
}

// PortRange returns the project's range, or the default.
func (r Rules) PortRange() PortRange {
	if r.Ports.Lo < 1 || r.Ports.Hi < r.Ports.Lo {
		return DefaultPorts()
	}
	return r.Ports
}

func (r Rules) port(suffix, service string) (int, []Step) {
	of, ports := suffix, r.PortRange()
	steps := []Step{{"service " + service + " is the base: digest the suffix", of}}
	if service != r.PortBase {
		of = suffix + "/" + service
		steps = []Step{{"another service than the base: digest <suffix>/<service>", of}}
	}
	sum := int64(Cksum([]byte(of)))
	port := ports.Lo + int(sum%int64(ports.Size()))
	return port, append(steps,
		Step{"cksum", strconv.FormatInt(sum, 10)},
		Step{fmt.Sprintf("%d + cksum mod %d", ports.Lo, ports.Size()), strconv.Itoa(port)})
}

// Workspace returns the name of the working copy at path: the last eight
// digits of the cksum of its path.
func Workspace(path string) string {
	s := strconv.FormatUint(uint64(Cksum([]byte(path))), 10)
	return s[max(0, len(s)-8):]
}

// Cksum returns what POSIX cksum prints for data: CRC-32 with the polynomial
// 0x04C11DB7, most significant bit first, over the data and then its length,
// complemented. (hash/crc32 has only the reflected form.)
func Cksum(data []byte) uint32 {
	var crc uint32
	feed := func(b byte) {
		crc ^= uint32(b) << 24
		for range 8 {
			if crc&0x80000000 != 0 {
				crc = crc<<1 ^ 0x04C11DB7
			} else {
				crc <<= 1
			}
		}
	}
	for _, b := range data {
		feed(b)
	}
	for n := len(data); n > 0; n >>= 8 {
		feed(byte(n))
	}
	return ^crc
}
