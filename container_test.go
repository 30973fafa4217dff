package muster

import (
	"reflect"
	"strings"
	"testing"
)

func TestEngineOptions(t *testing.T) {
	c := &Container{ShmMiB: Whole(64), Args: "--ipc=host --ulimit memlock=-1 --ulimit nofile=1024:4096 --cap-add SYS_NICE --init -e A=b=c --net host --add-host db:10.0.0.1 --pids-limit 100 --shm-size 1g"}
	got, err := c.Options()
	want := &EngineOptions{ShmMiB: Whole(1024), IPC: "host", Ulimits: map[string]string{"memlock": "-1", "nofile": "1024:4096"}, CapAdd: []string{"sys_nice"},
		Init: true, Variables: map[string]string{"A": "b=c"}, Hosts: []string{"db:10.0.0.1"}, PidsLimit: 100}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for args, says := range map[string]string{
		"--privileged":         `"--privileged" is not allowed: allowed are --add-host, --cap-add`,
		"-v /:/host":           `"-v /:/host" is not allowed`,
		"--ulimit memlock":     `--ulimit cannot be "memlock"`,
		"--network bridge":     `--network cannot be "bridge"`,
		"--shm-size lots":      `--shm-size cannot be "lots"`,
		"image":                `"image" is not allowed`,
		"-e MUSTER_FENCE=9":    `--env cannot be "MUSTER_FENCE=9"`,
		"--env=NOMAD_X=1":      `--env cannot be "NOMAD_X=1"`,
		"--pids-limit":         `--pids-limit cannot be ""`,
		"--ipc=container:evil": `--ipc cannot be`,
	} {
		_, err := (&Container{Args: args}).Options()
		if CodeOf(err) != CodeInvalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestParseShmSize(t *testing.T) {
	for text, want := range map[string]Amount{"2g": Whole(2048), "512m": Whole(512), "2GiB": Whole(2048), "1": Whole(1), "1048577": Whole(2), "65536k": Whole(64)} {
		if got, err := ParseShmSize(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1g", "2x", "9999999999999g", "2097152g"} {
		if got, err := ParseShmSize(text); CodeOf(err) != CodeInvalid {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}

func TestAllowedArgs(t *testing.T) {
	allowed, others := AllowedArgs("--privileged --ipc host -v /a:/b --init --rm -e A=1")
	if allowed != "--ipc host --init -e A=1" || !reflect.DeepEqual(others, []string{"--privileged", "-v /a:/b", "--rm"}) {
		t.Errorf("%q, %q", allowed, others)
	}
}
