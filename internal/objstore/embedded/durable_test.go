package embedded

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// spied returns a backend with one bucket and the list of what it synced, as
// paths below the root; staged files are all called "staged".
func spied(t *testing.T) (d *durable, synced *[]string) {
	t.Helper()
	root := t.TempDir()
	t.Chdir(root) // the backend would leave us there
	files, err := posix.New(root, meta.XattrMeta{}, posix.PosixOpts{
		CopyObjectThreshold: copyLimit, ForceNoTmpFile: true, ForceNoObjLockFile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(files.Shutdown)
	synced = new([]string)
	d = &durable{Posix: files, root: root, logger: slog.New(slog.DiscardHandler), fsync: func(f *os.File) error {
		name := f.Name()
		if strings.Contains(name, posix.MetaTmpDir) {
			name = filepath.Join(root, "staged")
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		*synced = append(*synced, rel)
		return f.Sync()
	}}
	if err := os.MkdirAll(filepath.Join(root, "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	return d, synced
}

func input(key, body, tags string) s3response.PutObjectInput {
	bucket, size, contentType := "b", int64(len(body)), "image/png"
	return s3response.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body),
		ContentLength: &size, ContentType: &contentType, Tagging: &tags}
}

// copyOf asks as the gateway does, with empty strings for what is not given.
func copyOf(src, dst, tags string) s3response.CopyObjectInput {
	bucket, from, none := "b", "b/"+src, ""
	return s3response.CopyObjectInput{Bucket: &bucket, Key: &dst, CopySource: &from,
		TaggingDirective: types.TaggingDirectiveReplace, Tagging: &tags,
		ExpectedBucketOwner: &none, ExpectedSourceBucketOwner: &none}
}

func TestWritesAreSyncedBeforeTheyAreAcknowledged(t *testing.T) {
	ctx := context.Background()
	d, synced := spied(t)
	expect := func(what string, err error, want ...string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !slices.Equal(*synced, want) {
			t.Errorf("%s synced %q, want %q", what, *synced, want)
		}
		*synced = nil
	}
	_, err := d.PutObject(ctx, input("new/deep/key", "body", "a=1"))
	expect("put", err, "staged", "staged", "b/new/deep", "b/new", "b")

	err = d.PutObjectTagging(ctx, "b", "new/deep/key", "", map[string]string{"a": "2"})
	expect("tagging", err, "b/new/deep/key")

	err = d.DeleteObjectTagging(ctx, "b", "new/deep/key", "")
	expect("removing tags", err, "b/new/deep/key")

	_, err = d.CopyObject(ctx, copyOf("new/deep/key", "copy", "a=3"))
	expect("copy", err, "staged", "staged", "b")

	made := "made"
	err = d.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &made, CreateBucketConfiguration: &types.CreateBucketConfiguration{}, ObjectLockEnabledForBucket: new(bool)}, nil)
	expect("bucket", err, "made", ".")
}

func TestAFailedSyncIsNotAcknowledged(t *testing.T) {
	ctx := context.Background()
	d, _ := spied(t)
	if _, err := d.PutObject(ctx, input("key", "old", "a=1")); err != nil {
		t.Fatal(err)
	}
	d.fsync = func(*os.File) error { return syscall.EIO }
	status := func(err error) int {
		var answer s3err.S3Error
		if !errors.As(err, &answer) {
			return 0
		}
		return answer.StatusCode()
	}
	if _, err := d.PutObject(ctx, input("key", "new", "a=2")); status(err) != 500 {
		t.Errorf("put with a broken disk: error %v, want status 500", err)
	}
	if err := d.PutObjectTagging(ctx, "b", "key", "", map[string]string{"a": "2"}); status(err) != 500 {
		t.Errorf("tagging with a broken disk: error %v, want status 500", err)
	}
	d.fsync = func(*os.File) error { return syscall.ENOSPC }
	if _, err := d.PutObject(ctx, input("key", "new", "a=2")); status(err) != 507 {
		t.Errorf("put on a full disk: error %v, want status 507", err)
	}
	b, err := os.ReadFile("b/key")
	if err != nil || string(b) != "old" {
		t.Errorf("the object is %q, %v: what could not be staged must not replace it", b, err)
	}
}

// TestTagsAreThereBeforeTheName looks at the copy at the moment of its first
// sync: it must have its final tags, and no reader may see it yet.
func TestTagsAreThereBeforeTheName(t *testing.T) {
	ctx := context.Background()
	d, _ := spied(t)
	if _, err := d.PutObject(ctx, input("src", "body", "a=old")); err != nil {
		t.Fatal(err)
	}
	var staged []string
	d.fsync = func(f *os.File) error {
		staged = append(staged, attribute(f, tagsAttribute))
		if _, err := os.Stat("b/dst"); len(staged) == 1 && err == nil {
			t.Error("the copy is visible before it is synced")
		}
		return f.Sync()
	}
	if _, err := d.CopyObject(ctx, copyOf("src", "dst", "a=new")); err != nil {
		t.Fatal(err)
	}
	if len(staged) == 0 || staged[0] != `{"a":"new"}` {
		t.Errorf("at its syncs the copy had tags %q, want the new ones from the first on", staged)
	}
}

func TestAddTags(t *testing.T) {
	stored := map[string]map[string]string{"a b": {"k": "x/y z", "j": "1&2"}, "c<d": {"k": "v"}}
	tags := func(key string) map[string]string { return stored[key] }
	for _, tt := range []struct{ name, body, want string }{
		{"tags go into their own entry",
			`<R><Contents><Key>none</Key></Contents><Contents><Key>a b</Key></Contents></R>`,
			`<R><Contents><Key>none</Key></Contents><Contents><Key>a b</Key><UserTags>j=1%262&amp;k=x%2Fy+z</UserTags></Contents></R>`},
		{"escaped keys are understood",
			`<R><Contents><Key>c&lt;d</Key></Contents></R>`,
			`<R><Contents><Key>c&lt;d</Key><UserTags>k=v</UserTags></Contents></R>`},
		{"url-encoded keys are understood where the answer says so",
			`<R><EncodingType>url</EncodingType><Contents><Key>a+b</Key></Contents></R>`,
			`<R><EncodingType>url</EncodingType><Contents><Key>a+b</Key><UserTags>j=1%262&amp;k=x%2Fy+z</UserTags></Contents></R>`},
		{"an empty listing stays", `<R></R>`, `<R></R>`},
		{"what is no XML stays", `<R><Contents>`, `<R><Contents>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(addTags([]byte(tt.body), tags)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestProbeSaysWhatIsMissing(t *testing.T) {
	refuse := func(*os.File, string, string, string, []byte) error { return syscall.ENOTSUP }
	dir := t.TempDir()
	err := probeAttributes(dir, refuse)
	if err == nil || !strings.Contains(err.Error(), "no user extended attributes") || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v, want one that names the folder and what its file system lacks", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("the probe left %v behind, %v", left, err)
	}
}
