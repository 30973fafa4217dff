package run

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/muster-ml/muster"
	"github.com/muster-ml/muster/agent/host"
)

// expressionRE finds ${{inputs.x}} and ${{outputs.x}}.
var expressionRE = regexp.MustCompile(`\$\{\{\s*([^{}]*?)\s*\}\}`)

// expand puts inputs and outputs into a command.
func (a *agent) expand(command string) (string, error) {
	var unknown string
	expanded := expressionRE.ReplaceAllStringFunc(command, func(e string) string {
		kind, name, _ := strings.Cut(expressionRE.FindStringSubmatch(e)[1], ".")
		values := map[string]map[string]string{"inputs": a.inputs, "outputs": a.outputs}[kind]
		value, ok := values[name]
		if !ok {
			unknown = e
		}
		return value
	})
	if unknown != "" {
		return "", failed(muster.FaultCommand, "the command names %s, which the run does not have", unknown)
	}
	return expanded, nil
}

// passed are the variables of the agent's own environment that the command is
// given too: what Nomad's device plugins set, how the node reaches the web, and
// the locale.
var passed = regexp.MustCompile(`^(NVIDIA_.*|CUDA_.*|ROCR_.*|HIP_.*|FPGA_.*|MUSTER_DEVICES|MUSTER_VISIBLE_DEVICES|MUSTER_GPU_.*|(?i:https?_proxy|no_proxy|all_proxy)|SSL_CERT_(FILE|DIR)|TZ|LANG|LC_.*)$`)

// own are the variables of a container that are for its agent; all others are
// the image's, and for the command.
var own = regexp.MustCompile(`^(NOMAD_|MUSTER_)`)

// inherits reports whether the command is given a variable of the agent's own
// environment.
func (a *agent) inherits(name string) bool {
	if a.config.image != "" {
		return !own.MatchString(name) || passed.MatchString(name)
	}
	return passed.MatchString(name)
}

// defaultPath is where commands are looked for when the agent has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment makes the command's environment: nothing of the agent's but what
// is meant for it, then Muster's variables, then the run's own, which win.
func (a *agent) environment() []string {
	vars := map[string]string{"LANG": "C.UTF-8", "HOME": a.folder.path(partTmp)}
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); a.inherits(name) {
			vars[name] = value
		}
	}
	where := os.Getenv("PATH")
	if where == "" {
		where = defaultPath
	}
	vars["PATH"] = a.folder.path(partBin) + ":" + where
	vars["USER"], vars["LOGNAME"] = a.user.Name, a.user.Name
	if !a.user.Change && a.user.Home != "" {
		vars["HOME"] = a.user.Home // what is installed below it is found, and nothing is hidden from oneself
	}
	tmp := a.folder.path(partTmp)
	vars["TMPDIR"], vars["AZ_BATCHAI_JOB_TEMP"], vars["AZ_BATCHAI_JOB_TEMP_DIR"] = tmp, tmp, tmp
	vars["AZ_BATCHAI_STDOUTERR_DIR"] = a.folder.path(partWork, "logs")
	vars[muster.AgentNodeVar], vars[host.AllocVar] = a.config.NodeID, a.config.alloc
	a.addIdentity(vars)
	a.addData(vars)
	maps.Copy(vars, a.spec().Variables)
	list := make([]string, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		list = append(list, name+"="+vars[name])
	}
	return list
}

// addIdentity adds which run this is, in Muster's words and those of the two
// products.
func (a *agent) addIdentity(vars map[string]string) {
	as := a.assignment
	maps.Copy(vars, map[string]string{
		"MUSTER_RUN_NAME": as.Run, "AZUREML_RUN_ID": as.Run,
		"MUSTER_WORKSPACE": as.Workspace, "AZUREML_ARM_WORKSPACE_NAME": as.Workspace,
		"MUSTER_EXPERIMENT": as.Experiment, "AZUREML_EXPERIMENT_ID": as.ExperimentID,
		"MUSTER_ATTEMPT": strconv.Itoa(as.Attempt), "MUSTER_LAUNCH": as.Launch,
		"MUSTER_INSTANCE": strconv.Itoa(as.Instance), "AZUREML_CR_NODE_RANK": strconv.Itoa(as.Instance), "AZ_BATCHAI_TASK_INDEX": strconv.Itoa(as.Instance),
		"AZUREML_NODE_COUNT": strconv.Itoa(as.InstanceCount), "AZ_BATCHAI_NUM_GPUS": strconv.Itoa(as.GPUs),
		"MUSTER_CHECKPOINT_DIR": a.folder.path(partSaved),
		"MUSTER_METRICS_FILE":   a.folder.path(partMetrics),
	})
	if as.TraceParent != "" {
		vars["TRACEPARENT"], vars["OTEL_EXPORTER_OTLP_ENDPOINT"] = as.TraceParent, as.OTLPEndpoint
	}
	if servers := append(as.Servers, a.config.Servers...); len(servers) > 0 {
		vars["MUSTER_ADDR"] = servers[0]
	}
	if token, err := a.config.Token(); err == nil {
		vars["MUSTER_TOKEN"] = token
	}
	vars["MUSTER_TOKEN_FILE"] = a.folder.path(partToken) // renewed
	if a.config.CA != "" {
		vars["MUSTER_CACERT"] = a.folder.path(partCA)
	}
}

// addData adds where inputs and outputs are.
func (a *agent) addData(vars map[string]string) {
	vars["MUSTER_OUTPUT_DIR"] = a.folder.path(partWork, "outputs")
	for name, value := range a.inputs {
		if a.spec().Inputs[name].Literal == nil {
			vars["AZUREML_DATAREFERENCE_"+name], vars["AZ_BATCHAI_INPUT_"+name] = value, value
		}
	}
	for name, value := range a.outputs {
		vars["AZUREML_DATAREFERENCE_"+name], vars["AZ_BATCHAI_OUTPUT_"+name] = value, value
	}
}
