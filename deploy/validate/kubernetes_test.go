package validate

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	monitoringalpha "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1alpha1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const base = "deploy/kubernetes/base"

// cluster is what `kubectl apply -k` would send.
type cluster struct {
	Deployment         apps.Deployment
	Service            core.Service
	Account            core.ServiceAccount
	Claim              core.PersistentVolumeClaim
	Settings           core.ConfigMap
	NetworkPolicy      networking.NetworkPolicy
	Rule               monitoring.PrometheusRule
	Monitor            monitoring.ServiceMonitor
	AlertmanagerConfig monitoringalpha.AlertmanagerConfig
}

// built runs Kustomize and decodes every object strictly into its type.
func built(t *testing.T) *cluster {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(repository, base))
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{}
	into := map[schema.GroupVersionKind]any{
		apps.SchemeGroupVersion.WithKind("Deployment"):                    &c.Deployment,
		core.SchemeGroupVersion.WithKind("Service"):                       &c.Service,
		core.SchemeGroupVersion.WithKind("ServiceAccount"):                &c.Account,
		core.SchemeGroupVersion.WithKind("PersistentVolumeClaim"):         &c.Claim,
		core.SchemeGroupVersion.WithKind("ConfigMap"):                     &c.Settings,
		networking.SchemeGroupVersion.WithKind("NetworkPolicy"):           &c.NetworkPolicy,
		monitoring.SchemeGroupVersion.WithKind("PrometheusRule"):          &c.Rule,
		monitoring.SchemeGroupVersion.WithKind("ServiceMonitor"):          &c.Monitor,
		monitoringalpha.SchemeGroupVersion.WithKind("AlertmanagerConfig"): &c.AlertmanagerConfig,
	}
	seen := map[schema.GroupVersionKind]bool{}
	for _, r := range resources.Resources() {
		id := r.GetGvk()
		kind := schema.GroupVersionKind{Group: id.Group, Version: id.Version, Kind: id.Kind}
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if into[kind] == nil || seen[kind] {
			t.Fatalf("%s %s: no test knows this object", kind, r.GetName())
		}
		seen[kind] = true
		decode(t, kind.Kind, text, into[kind])
		if r.GetNamespace() != "driftgate" {
			t.Errorf("%s %s is in namespace %q", kind.Kind, r.GetName(), r.GetNamespace())
		}
	}
	if len(seen) != len(into) {
		t.Errorf("%d kinds of objects, want %d", len(seen), len(into))
	}
	return c
}

func TestStrictDecodingRefusesWhatKubernetesWouldDrop(t *testing.T) {
	for name, bad := range map[string]string{
		"a field nobody knows": "spec: {replica: 1}",
		"a wrong type":         "spec: {replicas: one}",
		"a doubled key":        "spec: {replicas: 1, replicas: 2}",
	} {
		inner := &testing.T{}
		decode(inner, name, []byte("apiVersion: apps/v1\nkind: Deployment\n"+bad), &apps.Deployment{})
		if !inner.Failed() {
			t.Errorf("%s passes: the other tests prove nothing", name)
		}
	}
}

func TestOneGatewayOwnsItsFolder(t *testing.T) {
	d := built(t).Deployment
	if *d.Spec.Replicas != 1 || d.Spec.Strategy.Type != apps.RecreateDeploymentStrategyType {
		t.Errorf("%d replicas, %s: want 1 and Recreate, the folder has one owner", *d.Spec.Replicas, d.Spec.Strategy.Type)
	}
	selector, err := meta.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || !selector.Matches(labels.Set(d.Spec.Template.Labels)) {
		t.Errorf("the Deployment does not select its own pods: %v", err)
	}
}

func TestPodIsConfined(t *testing.T) {
	c := built(t)
	pod := c.Deployment.Spec.Template.Spec
	if p := pod.SecurityContext; !*p.RunAsNonRoot || *p.RunAsUser == 0 || p.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Errorf("pod security: %+v", p)
	}
	if len(pod.Containers) != 1 {
		t.Fatalf("%d containers", len(pod.Containers))
	}
	k := pod.Containers[0]
	s := k.SecurityContext
	if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
		t.Errorf("container security: %+v", s)
	}
	if *pod.AutomountServiceAccountToken || *c.Account.AutomountServiceAccountToken {
		t.Error("the pod gets a token for Kubernetes, which it never needs")
	}
	if k.Resources.Limits.Memory().IsZero() || k.Resources.Requests.Cpu().IsZero() || k.Resources.Requests.Memory().IsZero() {
		t.Errorf("resources: %+v", k.Resources)
	}
	if strings.HasSuffix(k.Image, ":latest") || !strings.Contains(k.Image, ":") {
		t.Errorf("image %q has no version", k.Image)
	}
}

func TestProbesAndServiceReachTheGatewaysPort(t *testing.T) {
	c := built(t)
	pod := c.Deployment.Spec.Template
	k := pod.Spec.Containers[0]
	port := k.Ports[0]
	for name, p := range map[string]struct {
		probe *core.Probe
		path  string
	}{"startup": {k.StartupProbe, "/-/healthy"}, "liveness": {k.LivenessProbe, "/-/healthy"}, "readiness": {k.ReadinessProbe, "/-/ready"}} {
		if p.probe == nil || p.probe.HTTPGet.Path != p.path || p.probe.HTTPGet.Port.StrVal != port.Name {
			t.Errorf("%s probe: %+v, want GET %s on port %s", name, p.probe, p.path, port.Name)
		}
	}
	if !labels.SelectorFromSet(c.Service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
		t.Error("the Service selects other pods")
	}
	if c.Service.Spec.Ports[0].TargetPort.StrVal != port.Name {
		t.Errorf("the Service leads to port %v", c.Service.Spec.Ports[0].TargetPort)
	}
	if c.NetworkPolicy.Spec.Ingress[0].Ports[0].Port.StrVal != port.Name {
		t.Error("the network policy opens another port")
	}
	if selector, err := meta.LabelSelectorAsSelector(&c.Monitor.Spec.Selector); err != nil || !selector.Matches(labels.Set(c.Service.Labels)) {
		t.Errorf("the ServiceMonitor selects other Services: %v", err)
	}
	if c.Monitor.Spec.Endpoints[0].Port != c.Service.Spec.Ports[0].Name {
		t.Error("the ServiceMonitor scrapes another port")
	}
	values := acceptSettings(t, base+"/driftgate.yml", environment(t, k))
	if got := values["http.listen"]; got != "0.0.0.0:8080" || port.ContainerPort != 8080 {
		t.Errorf("the gateway listens on %s, the pod's port is %d", got, port.ContainerPort)
	}
	url := *c.AlertmanagerConfig.Spec.Receivers[0].WebhookConfigs[0].URL
	if want := "http://" + c.Service.Name + "." + c.Service.Namespace + ".svc:8080/api/v1/alerts"; url != want {
		t.Errorf("the webhook goes to %s, want %s", url, want)
	}
}

// environment is the container's, with the Secret's variables that its comment names.
func environment(t *testing.T, k core.Container) map[string]string {
	t.Helper()
	env := map[string]string{
		"DRIFTGATE_HTTP_TOKEN": "0123456789abcdef", "DRIFTGATE_HTTP_ALERTS_TOKEN": "fedcba9876543210",
		"DRIFTGATE_S3_ACCESS_KEY": "key", "DRIFTGATE_S3_SECRET_KEY": "secret",
		"DRIFTGATE_LEDGER_DSN": "postgres://user:word@postgres:5432/driftgate",
	}
	text := string(read(t, base+"/deployment.yaml"))
	for name := range env {
		if !strings.Contains(text, name) {
			t.Errorf("deployment.yaml does not say that the Secret holds %s", name)
		}
	}
	for _, v := range k.Env {
		env[v.Name] = v.Value
	}
	return env
}

func TestStateAndSettingsAreMountedWhereTheGatewayLooks(t *testing.T) {
	c := built(t)
	pod := c.Deployment.Spec.Template.Spec
	k := pod.Containers[0]
	at := map[string]string{}
	for _, m := range k.VolumeMounts {
		at[m.MountPath] = m.Name
	}
	source := map[string]core.VolumeSource{}
	for _, v := range pod.Volumes {
		source[v.Name] = v.VolumeSource
	}
	dir := environment(t, k)["DRIFTGATE_DIR"]
	if v := source[at[dir]].PersistentVolumeClaim; v == nil || v.ClaimName != c.Claim.Name {
		t.Errorf("%s is not on the claim: captures would be lost with the pod", dir)
	}
	file := k.Args[slices.Index(k.Args, "--config")+1]
	v := source[at[filepath.Dir(file)]].ConfigMap
	if v == nil || v.Name != c.Settings.Name || c.Settings.Data[filepath.Base(file)] == "" {
		t.Errorf("--config %s is not in the ConfigMap %s", file, c.Settings.Name)
	}
	if !strings.HasPrefix(c.Settings.Name, "driftgate-") {
		t.Errorf("ConfigMap %s has no hash in its name: a changed setting would not roll the gateway", c.Settings.Name)
	}
	if source[at["/tmp"]].EmptyDir == nil {
		t.Error("the root is read-only and /tmp is none of its own")
	}
}

func TestNoSecretIsCommitted(t *testing.T) {
	c := built(t)
	secret := c.Deployment.Spec.Template.Spec.Containers[0].EnvFrom[0].SecretRef.Name
	if got := c.AlertmanagerConfig.Spec.Receivers[0].WebhookConfigs[0].HTTPConfig.Authorization.Credentials; got.Name != secret || got.Key != "DRIFTGATE_HTTP_ALERTS_TOKEN" {
		t.Errorf("the webhook's credentials: %+v, want those of Secret %s", got, secret)
	}
	files, err := os.ReadDir(filepath.Join(repository, base))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text := string(read(t, base+"/"+f.Name())); strings.Contains(text, "kind: Secret\n") {
			t.Errorf("%s holds a Secret", f.Name())
		}
	}
}

func TestPrometheusRuleHoldsEveryRule(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []map[string]any `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.Unmarshal(read(t, "alerts/rules.yml"), &rules); err != nil {
		t.Fatal(err)
	}
	want, got := 0, 0
	for _, g := range rules.Groups {
		want += len(g.Rules)
	}
	for _, g := range built(t).Rule.Spec.Groups {
		got += len(g.Rules)
		for _, r := range g.Rules {
			if r.Expr.String() == "" || (r.Alert == "") == (r.Record == "") {
				t.Errorf("%s: rule %+v", g.Name, r)
			}
		}
	}
	if got != want || got == 0 {
		t.Errorf("%d rules, alerts/rules.yml has %d", got, want)
	}
}

func TestKubectlBuildsTheSameBase(t *testing.T) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl is not installed")
	}
	out, err := exec.Command(kubectl, "kustomize", filepath.Join(repository, base)).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl kustomize: %v\n%s", err, out)
	}
	if n := strings.Count("\n"+string(out), "\napiVersion: "); n != 9 {
		t.Errorf("kubectl builds %d objects, this test's library 9", n)
	}
}
