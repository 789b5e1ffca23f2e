//go:build figures

package bench

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"envctl/internal/realtest"
)

// The rotation of many: as many paths, worked on as many at a time, in both programs.
const (
	rotatedPaths    = 100
	rotatedParallel = 8
	// requestsEach is what a path costs: read, write, read back. The loop does not
	// look whether what it wrote is there.
	requestsEach = 3
)

// rotate: a hundred paths by one rotate --all, against a tight loop of reads and
// check-and-set writes: one path after the other, as many at a time as envctl, and
// as many at a time reading back what they wrote.
func (b *bench) rotate() {
	server, loop, dir := realtest.Vault(b.t), build(b.t, "./loop"), b.t.TempDir()
	var file strings.Builder
	file.WriteString("version: 1\nproject: bench\nenvironments: {staging: {store: vault}}\ncomponents:\n")
	for i := range rotatedPaths {
		fmt.Fprintf(&file, "  app%03d: {generate: {SECRET_KEY: hex}, rotate: {key: {variable: SECRET_KEY}}}\n", i)
		for _, environment := range []string{"staging", "loop"} {
			server.Do(http.MethodPost, fmt.Sprintf("secret/data/bench/%s/app%03d", environment, i),
				map[string]any{"data": map[string]any{"SECRET_KEY": "first", "OTHER": "stays"}})
		}
	}
	b.write(filepath.Join(dir, "envctl.yaml"), file.String())
	args := []string{"rotate", "--all", "--env", "staging", "--parallel", fmt.Sprint(rotatedParallel)}
	work := fmt.Sprintf("rotate %d paths", rotatedPaths)
	// 0.7 of the loop's paths a second is at most 1/0.7 of its time.
	single := Figure{Work: work, Measure: "wall", Peer: "tight loop", Goal: 1 / 0.7}
	wall := Figure{Work: work, Measure: "wall", Peer: "as many at a time, nothing read back", Goal: 1 / 0.7}
	same := Figure{Work: work, Measure: "wall", Peer: "as many at a time, the same requests", Goal: 1 / 0.7}
	theirs := func(parallel int, more ...string) Command {
		args := []string{loop, server.Addr, server.RootToken, "secret/data/bench/loop/app", fmt.Sprint(rotatedPaths), fmt.Sprint(parallel)}
		return Command{Name: "loop", Args: append(args, more...), Env: b.env()}
	}
	stats, err := b.compare(
		Command{Name: "envctl rotate --all", Args: append([]string{b.envctl}, args...), Dir: dir, Env: b.env("VAULT_ADDR="+server.Addr, "VAULT_TOKEN="+server.RootToken)},
		theirs(1), theirs(rotatedParallel), theirs(rotatedParallel, "back"),
	)
	if err != nil {
		b.miss(err, single, wall, same)
		return
	}
	b.figures = append(b.figures,
		Ratio(work, single.Measure, single.Peer, stats[0].Wall, stats[1].Wall, single.Goal),
		Ratio(work, wall.Measure, wall.Peer, stats[0].Wall, stats[2].Wall, wall.Goal),
		Ratio(work, same.Measure, same.Peer, stats[0].Wall, stats[3].Wall, same.Goal))

	proxy := b.counter(server.Addr)
	requests := Figure{Work: work, Measure: "requests", Goal: requestsEach * rotatedPaths, Exact: true}
	if requests.Got, _, err = b.count(proxy, dir, "", server.RootToken, args...); err != nil {
		b.miss(err, requests)
		return
	}
	b.figures = append(b.figures, requests)
}
