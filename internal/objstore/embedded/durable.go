package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// Names of versitygw's extended attributes, without their prefix.
const (
	tagsAttribute = "X-Amz-Tagging" // a JSON object
	etagAttribute = "etag"
)

// durable is the POSIX backend with every acknowledged write on the disk, and
// with tags staged together with the data: the stock backend publishes first,
// tags second, and never syncs.
//
// Deletes are not synced. A delete that a power cut undoes is repeated by the
// next run of whichever pipeline asked for it: they delete last, after what
// replaces the object is durable.
type durable struct {
	*posix.Posix
	root   string                 // absolute
	fsync  func(f *os.File) error // (*os.File).Sync, but for tests
	logger *slog.Logger
}

// PutObject stages data and tags in a file of its own, syncs it, renames it
// into place and syncs the directories.
func (d *durable) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	if in.Bucket == nil || in.Key == nil || strings.HasSuffix(*in.Key, "/") {
		return d.Posix.PutObject(ctx, in) // refused, or a directory marker: no data to tear
	}
	var tags []byte
	if in.Tagging != nil && *in.Tagging != "" {
		parsed, err := backend.ParseObjectTags(*in.Tagging)
		if err != nil {
			return s3response.PutObjectOutput{}, err
		}
		if tags, err = json.Marshal(parsed); err != nil {
			return s3response.PutObjectOutput{}, err
		}
		in.Tagging = nil // staged by us
	}
	return d.publish(ctx, in, tags)
}

func (d *durable) publish(ctx context.Context, in s3response.PutObjectInput, tags []byte) (s3response.PutObjectOutput, error) {
	var staged *os.File // a second descriptor: the backend closes its own before the rename
	defer func() {
		if staged != nil {
			_ = staged.Close() // nothing is written through it
		}
	}()
	failed := func(err error) error { return d.answer(ctx, "put", *in.Bucket, *in.Key, err) }
	out, err := d.Posix.PutObjectWithPostFunc(ctx, in, func(f *os.File) (err error) {
		if tags != nil {
			if err := (meta.XattrMeta{}).StoreAttribute(f, "", "", tagsAttribute, tags); err != nil {
				return err
			}
		}
		if staged, err = os.Open(f.Name()); err != nil {
			return err
		}
		return d.fsync(f) // before the name appears, so that no crash leaves it with half the data
	})
	if err != nil {
		return out, failed(err)
	}
	// The backend has added ETag and content type since; sync those as well.
	return out, failed(errors.Join(d.fsync(staged), d.syncParents(*in.Bucket, *in.Key)))
}

// answer keeps what the client has caused or need not know out of the answer
// and of standard error, where the gateway prints every error it does not know.
func (d *durable) answer(ctx context.Context, doing, bucket, key string, err error) error {
	var known s3err.S3Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case ctx.Err() != nil || errors.Is(err, io.ErrUnexpectedEOF):
		return s3err.GetAPIError(s3err.ErrIncompleteBody) // the client hung up
	}
	d.logger.Error("object store: "+doing, "bucket", bucket, "key", key, "error", err)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return s3err.GetAPIError(s3err.ErrNoSpaceLeftOnDevice)
	}
	return s3err.GetAPIError(s3err.ErrInternalError) // the client may try again
}

// PutObjectTagging replaces the tags in one step and syncs the file. Should
// another object take the key in between, that one is synced instead, and the
// tags went to one that is no more.
func (d *durable) PutObjectTagging(ctx context.Context, bucket, key, version string, tags map[string]string) error {
	if err := d.Posix.PutObjectTagging(ctx, bucket, key, version, tags); err != nil {
		return d.answer(ctx, "tag", bucket, key, err)
	}
	return d.answer(ctx, "tag", bucket, key, d.syncObject(bucket, key))
}

// DeleteObjectTagging removes all tags.
func (d *durable) DeleteObjectTagging(ctx context.Context, bucket, key, version string) error {
	return d.PutObjectTagging(ctx, bucket, key, version, nil)
}

// CompleteMultipartUpload syncs the assembled object; its tags were staged with
// it. Unlike a plain put it is visible, though not acknowledged, before that.
func (d *durable) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	out, version, err := d.Posix.CompleteMultipartUpload(ctx, in)
	if err == nil {
		err = errors.Join(d.syncObject(*in.Bucket, *in.Key), d.syncParents(*in.Bucket, *in.Key))
	}
	return out, version, d.answer(ctx, "complete upload", *in.Bucket, *in.Key, err)
}

// CreateBucket makes the folder and its access list durable.
func (d *durable) CreateBucket(ctx context.Context, in *s3.CreateBucketInput, acl []byte) error {
	if err := d.Posix.CreateBucket(ctx, in, acl); err != nil {
		return err
	}
	return errors.Join(d.syncPath(filepath.Join(d.root, *in.Bucket)), d.syncPath(d.root))
}

// GetObject returns a body with its own ETag: the stock backend reads the ETag
// before it opens the file, and another object may come in between.
func (d *durable) GetObject(ctx context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	for {
		out, err := d.Posix.GetObject(ctx, in)
		if err != nil || out.Body == nil || out.ETag == nil || in.Bucket == nil || in.Key == nil {
			return out, d.answerGet(ctx, in, err)
		}
		now, err := meta.XattrMeta{}.RetrieveAttribute(nil, filepath.Join(d.root, *in.Bucket), *in.Key, etagAttribute)
		if err != nil || string(now) == *out.ETag || ctx.Err() != nil {
			return out, nil //nolint:nilerr // gone meanwhile: the body that was opened is whole, with the ETag it had
		}
		if err := out.Body.Close(); err != nil {
			return nil, d.answerGet(ctx, in, fmt.Errorf("close replaced object: %w", err))
		}
	}
}

func (d *durable) answerGet(ctx context.Context, in *s3.GetObjectInput, err error) error {
	if err == nil || in.Bucket == nil || in.Key == nil {
		return err
	}
	return d.answer(ctx, "get", *in.Bucket, *in.Key, err)
}

// syncParents syncs the object's directory and those above it up to the
// bucket's, each of which may be new. A directory that is gone again held
// nothing any more.
func (d *durable) syncParents(bucket, key string) error {
	for dir := filepath.Dir(filepath.Join(bucket, key)); ; dir = filepath.Dir(dir) {
		if err := d.syncPath(filepath.Join(d.root, dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if dir == bucket || dir == "." {
			return nil
		}
	}
}

func (d *durable) syncObject(bucket, key string) error {
	err := d.syncPath(filepath.Join(d.root, bucket, key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted since
	}
	return err
}

// syncPath syncs the file or directory at path.
func (d *durable) syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.fsync(f), f.Close())
}

var (
	_ backend.Backend = (*durable)(nil)
	_ io.Closer       = (*Server)(nil)
)
