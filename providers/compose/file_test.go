package compose

import (
	"encoding/json"
	"testing"
	"time"

	"envctl/providers"
)

func TestManner(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, service string // as compose describes it
		asked         bool
		want          string
	}{
		{"one", `{}`, false, "recreated, with an interruption"},
		{"one by scale", `{"scale": 1}`, false, "recreated, with an interruption"},
		{"one, asked for", `{}`, true, "rolled, 1 of 1 replicas at a time; an old one goes when a new one is healthy"},
		{"one with a port of its own", `{"ports": [{"published": "8080"}]}`, true, "recreated, with an interruption: its host ports have no room for another"},
		{"one with a port that the engine chooses", `{"ports": [{"target": 80}, {"published": "0"}]}`, true, "rolled, 1 of 1 replicas at a time; an old one goes when a new one is healthy"},
		{"one with two ports to choose from", `{"ports": [{"published": "8080-8081"}]}`, true, "rolled, 1 of 1 replicas at a time; an old one goes when a new one is healthy"},
		{"one on the host's network", `{"network_mode": "host"}`, true, "recreated, with an interruption: it is on the host's own network"},
		{"one, stop-first", `{"deploy": {"update_config": {"order": "stop-first"}}}`, true, "recreated, with an interruption: its update_config says stop-first"},
		{"three", `{"deploy": {"replicas": 3}}`, false, "rolled, 1 of 3 replicas at a time; an old one goes when a new one is healthy"},
		{"three by scale", `{"scale": 3}`, false, "rolled, 1 of 3 replicas at a time; an old one goes when a new one is healthy"},
		{"two of three", `{"scale": 3, "deploy": {"update_config": {"parallelism": 2}}}`, false, "rolled, 2 of 3 replicas at a time; an old one goes when a new one is healthy"},
		{"more than there are", `{"scale": 3, "deploy": {"update_config": {"parallelism": 9}}}`, false, "rolled, 3 of 3 replicas at a time; an old one goes when a new one is healthy"},
		{"all", `{"scale": 3, "deploy": {"update_config": {"parallelism": 0}}}`, false, "rolled, 3 of 3 replicas at a time; an old one goes when a new one is healthy"},
		{"stop-first", `{"scale": 3, "deploy": {"update_config": {"parallelism": 2, "order": "stop-first"}}}`, false, "rolled, 1 of 3 replicas at a time; 2 go on meanwhile: its update_config says stop-first"},
		{"ports for all and no more", `{"scale": 3, "ports": [{"published": "8000-8002"}, {"published": "9000-9100"}]}`, false, "rolled, 1 of 3 replicas at a time; 2 go on meanwhile: its host ports have no room for another"},
		{"a port more", `{"scale": 3, "deploy": {"update_config": {"parallelism": 3}}, "ports": [{"published": "8000-8003"}]}`, false, "rolled, 1 of 3 replicas at a time; an old one goes when a new one is healthy"},
		{"data", `{"scale": 3, "volumes": [{"type": "bind", "source": "/a"}, {"type": "volume"}]}`, false, "all 3 replicas recreated at once, with an interruption: it keeps data in a volume without a name, which only its successor is given"},
		{"a hook", `{"scale": 3, "pre_stop": [{"command": "x"}]}`, false, "all 3 replicas recreated at once, with an interruption: it has a pre_stop hook, which only a recreation runs"},
		{"none", `{"scale": 0}`, true, "all 0 replicas recreated at once, with an interruption"},
	} {
		var s fileService
		if err := json.Unmarshal([]byte(c.service), &s); err != nil {
			t.Fatal(c.name, err)
		}
		m := composeFile{"web": s}.manner(providers.Service{Name: "web", Rolling: c.asked})
		if got := m.words(true); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if got := m.words(false); got != "started: none of it runs" {
			t.Errorf("%s: %s", c.name, got)
		}
	}
	if interval > 100*time.Millisecond {
		t.Error("a look at the engine every", interval, "notices a healthy container too late")
	}
}
