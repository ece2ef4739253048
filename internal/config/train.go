package config

import (
	"fmt"
	"slices"
	"time"

	"driftgate/trainer"
)

// Train is how a challenger is trained.
type Train struct {
	Start              string        `key:"start" doc:"what a retraining begins with: scratch, warm (the champion's weights) or head (the champion's weights, of which only the last layer learns)"`
	Holdout            float64       `key:"holdout" doc:"share of production samples that no training set ever sees"`
	Validation         float64       `key:"validation" doc:"share of the training samples that validates, for early stopping and calibration"`
	MinLabels          int           `key:"min_labels" doc:"human labels since the drift began that a retraining waits for; 0 waits for none"`
	Wait               time.Duration `key:"wait" doc:"how long it waits for them"`
	Lookback           time.Duration `key:"lookback" doc:"how far back the retraining set reaches"`
	Sources            []string      `key:"sources" doc:"whose labels are used: human, proxy (the model's own) or both"`
	HumanWeight        float64       `key:"human_weight" doc:"weight of a human label"`
	Disagreement       float64       `key:"disagreement" doc:"how much of a human label's weight is lost when the people who were asked disagree: 0 none, 1 the share of them who said otherwise"`
	ProxyWeight        float64       `key:"proxy_weight" doc:"weight of the model's own label"`
	MinProxyConfidence float64       `key:"min_proxy_confidence" doc:"confidence below which a proxy label is not used"`
	Replay             int           `key:"replay" doc:"samples of the base dataset mixed in; -1 is all"`
	ReplayBy           string        `key:"replay_by" doc:"how they are shared out: share (each class by its share) or even (as many of each)"`
	Balance            string        `key:"balance" doc:"what classes count for: none (what they have), sqrt (its square root) or equal"`
	BalanceBy          string        `key:"balance_by" doc:"by weights, or by samples: left out and repeated"`
	ClassWeights       []string      `key:"class_weights" doc:"what a sample of a label counts for beside one of another, as LABEL=FACTOR or, in the file, {LABEL: FACTOR}; a label that is no class stops a training"`
	Model              string        `key:"model" doc:"family of the network: mlp, cnn or mobilenet"`
	Hidden             []int         `key:"hidden" doc:"mlp: widths of the hidden layers; empty is a linear model"`
	Filters            []int         `key:"filters" doc:"cnn: filters of each block, which halves the sides of the image; empty is 32,64"`
	Convs              int           `key:"convs" doc:"cnn: 3x3 convolutions a block"`
	Dense              []int         `key:"dense" doc:"cnn: widths of the hidden layers after the blocks; empty is 128"`
	BatchNorm          bool          `key:"batch_norm" doc:"cnn: batch normalisation after each convolution"`
	Dropout            float64       `key:"dropout" doc:"cnn: share of the inputs of each dense layer that a step leaves out"`
	Width              float64       `key:"width" doc:"mobilenet: of its layers, as a share of the published"`
	Epochs             int           `key:"epochs" doc:"most passes over the data"`
	Batch              int           `key:"batch" doc:"samples a step"`
	Optimiser          string        `key:"optimiser" doc:"what moves the weights: sgd or adam"`
	LearningRate       float64       `key:"learning_rate" doc:"step size at its highest; adam wants a hundredth of what sgd does"`
	Schedule           string        `key:"schedule" doc:"how it falls: cosine (to next to nothing), step (to a tenth after half of the epochs, to a hundredth after three quarters) or constant"`
	Warmup             int           `key:"warmup" doc:"epochs in which it first rises"`
	Momentum           float64       `key:"momentum" doc:"of sgd; of adam beta1"`
	MaxNorm            float64       `key:"max_norm" doc:"length to which longer gradients are cut; 0 cuts none"`
	WeightDecay        float64       `key:"weight_decay" doc:"share of the weights that each step takes off, by the learning rate"`
	Smoothing          float64       `key:"smoothing" doc:"share of each label that is spread over all classes"`
	Patience           int           `key:"patience" doc:"epochs without a better validation loss before stopping; 0 is never"`
	Seed               uint64        `key:"seed" doc:"seed of weights, order and split"`

	Active  Active  `key:"active"`
	Quality Quality `key:"quality"`
	Augment Augment `key:"augment"`
}

// Active is which production samples a retraining prefers.
type Active struct {
	MaxProduction int     `key:"max_production" doc:"most production samples in a retraining set, labelled by people first; 0 is all"`
	Prefer        string  `key:"prefer" doc:"which of them when there are more: uncertain (the model was least sure) or surprising (the label was least likely by its answer)"`
	Random        float64 `key:"random" doc:"share of those places that is drawn by lot"`
}

// Quality is how a retraining looks for wrong labels and weak slices.
type Quality struct {
	Folds       int      `key:"folds" doc:"parts of the cross-validation that looks for wrong labels, 2 to 20; 0 does not look"`
	Epochs      int      `key:"epochs" doc:"epochs of its short trainings; 0 is a quarter of train.epochs, at least 4"`
	ProxyFactor float64  `key:"proxy_factor" doc:"the weight of a suspect proxy label is multiplied with the ratio of its probability to that of what the image looks like, but with no less than this; 0 drops it"`
	HumanFactor float64  `key:"human_factor" doc:"likewise of a suspect human label, which is never dropped; 1 only reports it"`
	BaseFactor  float64  `key:"base_factor" doc:"likewise of a suspect sample of the base dataset"`
	Weak        []string `key:"weak" doc:"slices that are made heavier, named as on the comparison: class=LABEL, source=STRATUM, confidence=LOW-HIGH, joined by + as class+source=Coat+flagged; also predicted=LABEL"`
	WeakFactor  float64  `key:"weak_factor" doc:"the weight of their samples is multiplied with this"`
}

// Augment is how training images are varied, anew in each epoch.
type Augment struct {
	Share      float64 `key:"share" doc:"share of the images that is varied; nothing is while the largest changes below are 0"`
	Shift      int     `key:"shift" doc:"largest shift, pixels"`
	Flip       bool    `key:"flip" doc:"left for right, one time in two; left out where it makes no sense (characters, left and right)"`
	Rotation   float64 `key:"rotation" doc:"largest rotation, degrees"`
	Brightness float64 `key:"brightness" doc:"largest change of brightness: 0.2 is 0.8 to 1.2 times"`
	Contrast   float64 `key:"contrast" doc:"largest change of contrast, likewise"`
	Saturation float64 `key:"saturation" doc:"largest change of colours, likewise; colour images only"`
	Noise      float64 `key:"noise" doc:"standard deviation of added noise, 0 to 1"`
	Cutout     int     `key:"cutout" doc:"side of a square that is blanked, pixels"`
}

func defaultTrain() Train {
	return Train{
		Start: "scratch", Holdout: 0.3, Validation: 0.1, MinLabels: 100, Wait: 24 * time.Hour, Lookback: 30 * 24 * time.Hour,
		Sources: []string{"human", "proxy"}, HumanWeight: 3, ProxyWeight: 0.05, MinProxyConfidence: 0.95,
		Replay: 6000, ReplayBy: "share", Balance: "none", BalanceBy: "weights",
		Model: "mlp", Hidden: []int{128, 64}, Convs: 1, Width: 1, Epochs: 15, Batch: 64, Patience: 5, Seed: 1,
		Optimiser: "sgd", LearningRate: 0.1, Schedule: "cosine", Momentum: 0.9, MaxNorm: 0.5, WeightDecay: 1e-4,
		Active:  Active{Prefer: "uncertain", Random: 0.2},
		Quality: Quality{HumanFactor: 1, BaseFactor: 1, WeakFactor: 2},
		Augment: Augment{Share: 0.5},
	}
}

// Bounds that are the trainer's too.
const (
	minWeight, maxWeight = 1e-6, 1e6
	maxSide              = 1024 // pixels
)

// check returns everything that is wrong with the values, by key.
func (t Train) check() []fault {
	var out []fault
	want := func(ok bool, key, format string, args ...any) {
		if !ok {
			out = append(out, fault{"train." + key, fmt.Sprintf(format, args...)})
		}
	}
	between := func(x, low, high float64, key string) {
		want(x >= low && x <= high, key, "%g: want %g to %g", x, low, high)
	}
	oneOf := func(s, key string, of ...string) { want(slices.Contains(of, s), key, "%q: want one of %v", s, of) }
	atLeast := func(n, least int, key string) { want(n >= least, key, "%d: want at least %d", n, least) }

	oneOf(t.Start, "start", "scratch", "warm", "head")
	want(t.Holdout > 0 && t.Holdout < 1, "holdout", "%g: want over 0 and under 1", t.Holdout)
	between(t.Validation, 0, 0.5, "validation")
	atLeast(t.MinLabels, 0, "min_labels")
	want(t.Wait >= 0, "wait", "%s: want 0s or more", t.Wait)
	want(t.Lookback > 0, "lookback", "%s: want more than 0s", t.Lookback)
	for _, s := range t.Sources {
		oneOf(s, "sources", "human", "proxy")
	}
	want(len(t.Sources) > 0, "sources", "empty: want human, proxy or both")
	between(t.HumanWeight, minWeight, maxWeight, "human_weight")
	want(t.ProxyWeight == 0 || t.ProxyWeight >= minWeight && t.ProxyWeight < t.HumanWeight, "proxy_weight", "%g: want 0, or %g or more and less than train.human_weight (%g)", t.ProxyWeight, minWeight, t.HumanWeight)
	between(t.MinProxyConfidence, 0, 1, "min_proxy_confidence")
	between(t.Disagreement, 0, 1, "disagreement")
	atLeast(t.Replay, -1, "replay")
	oneOf(t.ReplayBy, "replay_by", "share", "even")
	oneOf(t.Balance, "balance", "none", "sqrt", "equal")
	oneOf(t.BalanceBy, "balance_by", "weights", "samples")
	out = append(out, t.checkNetwork()...)
	between(float64(t.Epochs), 1, 100_000, "epochs")
	between(float64(t.Batch), 1, 8192, "batch")
	atLeast(t.Patience, 0, "patience")
	atLeast(t.Active.MaxProduction, 0, "active.max_production")
	oneOf(t.Active.Prefer, "active.prefer", "uncertain", "surprising")
	between(t.Active.Random, 0, 1, "active.random")
	q := t.Quality
	want(q.Folds == 0 || q.Folds >= 2 && q.Folds <= 20, "quality.folds", "%d: want 0 (no check) or 2 to 20", q.Folds)
	want(q.Epochs >= 0 && q.Epochs <= 1000, "quality.epochs", "%d: want 0 (a quarter of train.epochs, at least 4) to 1000", q.Epochs)
	between(q.ProxyFactor, 0, 1, "quality.proxy_factor")
	want(q.HumanFactor >= minWeight && q.HumanFactor <= 1, "quality.human_factor", "%g: want %g to 1: a person's label is never dropped", q.HumanFactor, minWeight)
	between(q.BaseFactor, minWeight, 1, "quality.base_factor")
	want(len(q.Weak) <= 100, "quality.weak", "%d slices: want at most 100", len(q.Weak))
	for _, slice := range q.Weak {
		want(trainer.KnownSlice(slice), "quality.weak", "%q: want class=LABEL, predicted=LABEL, source=STRATUM, confidence=LOW-HIGH, or such joined by +", slice)
	}
	between(q.WeakFactor, 1, 100, "quality.weak_factor")
	a := t.Augment
	between(a.Share, 0, 1, "augment.share")
	between(float64(a.Shift), 0, maxSide, "augment.shift")
	between(a.Rotation, 0, 180, "augment.rotation")
	want(a.Brightness >= 0 && a.Brightness < 1, "augment.brightness", "%g: want 0 to below 1", a.Brightness)
	want(a.Contrast >= 0 && a.Contrast < 1, "augment.contrast", "%g: want 0 to below 1", a.Contrast)
	want(a.Saturation >= 0 && a.Saturation < 1, "augment.saturation", "%g: want 0 to below 1", a.Saturation)
	between(a.Noise, 0, 1, "augment.noise")
	between(float64(a.Cutout), 0, maxSide, "augment.cutout")
	return out
}
