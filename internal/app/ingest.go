package app

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"driftgate"
	"driftgate/internal/dataset"
	"driftgate/internal/objstore"
	"driftgate/internal/web"
)

// Sizes of what is made when the request does not say.
const (
	syntheticTrain = 6000
	syntheticTest  = 2000
	folderSide     = 64
)

// ingested is the answer to a dataset that was stored.
type ingested struct {
	Dataset     string            `json:"dataset"` // name@fingerprint
	Fingerprint string            `json:"fingerprint"`
	Classes     driftgate.Classes `json:"classes"`
	Train       int               `json:"train"`
	Test        int               `json:"test"`
	Notes       []string          `json:"notes"` // what was noticed and does not stop the load, and what was left out
}

// ingest reads, checks and stores a dataset; nothing is stored when the check
// fails.
func (a *App) ingest(ctx context.Context, r web.IngestRequest) (any, error) {
	set, report, err := a.read(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	if err := report.Err(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	ref, err := dataset.Save(ctx, a.store.Bucket(a.buckets.Datasets), set)
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	return ingested{string(ref), set.Fingerprint(), set.Classes, set.Train.Len(), set.Test.Len(), append([]string{}, slices.Concat(report.Warnings, report.LeftOut)...)}, nil
}

func (a *App) read(ctx context.Context, r web.IngestRequest) (dataset.Set, dataset.Report, error) {
	switch r.Source {
	case "synthetic":
		o := dataset.SyntheticOptions{Seed: r.Seed, Train: r.Train, Test: r.Test}
		if o.Train == 0 {
			o.Train = syntheticTrain
		}
		if o.Test == 0 {
			o.Test = syntheticTest
		}
		return checked(dataset.Synthetic(o), nil)
	case "fashion-mnist":
		return checked(a.fashion(ctx, r.Data))
	case "folder":
		side := r.Size
		if side == 0 {
			side = folderSide
		}
		return dataset.ReadFolder(r.Data, dataset.FolderOptions{Height: side, Width: side, Limits: a.limits()})
	}
	return dataset.Set{}, dataset.Report{}, fmt.Errorf("source %q: want synthetic, fashion-mnist or folder: %w", r.Source, driftgate.ErrInvalid)
}

func checked(set dataset.Set, err error) (dataset.Set, dataset.Report, error) {
	if err != nil {
		return set, dataset.Report{}, err
	}
	return set, dataset.Validate(set, dataset.Rules{}), nil
}

// fashion reads Fashion-MNIST from where data points: a folder,
// s3://bucket/prefix, or the URL of a mirror; empty is the public mirror.
func (a *App) fashion(ctx context.Context, data string) (dataset.Set, error) {
	u, err := url.Parse(data)
	switch {
	case err == nil && u.Scheme == "s3":
		prefix := strings.Trim(u.Path, "/")
		if prefix != "" {
			prefix += "/"
		}
		return dataset.LoadFashionMNIST(ctx, a.store.Bucket(u.Host), prefix)
	case data == "", err == nil && (u.Scheme == "http" || u.Scheme == "https"):
		dir := filepath.Join(a.Config.Dir, "downloads", "fashion-mnist")
		if err := dataset.FetchFashionMNIST(ctx, data, dir); err != nil {
			return dataset.Set{}, err
		}
		return dataset.ReadFashionMNIST(dir)
	}
	return dataset.ReadFashionMNIST(data)
}

// resolveDataset finds a stored dataset by reference or by name, the newest
// first; empty is the newest of all.
func (a *App) resolveDataset(ctx context.Context, name string) (dataset.Ref, error) {
	infos, err := dataset.List(ctx, a.store.Bucket(a.buckets.Datasets))
	if err != nil {
		return "", err
	}
	for i := len(infos) - 1; i >= 0; i-- {
		if ref := infos[i].Ref(); name == "" || string(ref) == name || infos[i].Name == name {
			return ref, nil
		}
	}
	known := make([]string, len(infos))
	for i, info := range infos {
		known[i] = string(info.Ref())
	}
	return "", fmt.Errorf("dataset %q: want one of %v; driftgate ingest stores one: %w", name, known, driftgate.ErrNotFound)
}

var _ dataset.Store = objstore.Bucket{}
