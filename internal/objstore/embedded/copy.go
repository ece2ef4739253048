package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// CopyObject stages the copy with its final tags and publishes it like any put.
// The stock backend publishes it first and tags it then. Data, metadata and
// tags are all read through one descriptor, so they belong together even if the
// source is replaced meanwhile.
func (d *durable) CopyObject(ctx context.Context, in s3response.CopyObjectInput) (s3response.CopyObjectOutput, error) {
	if in.Bucket == nil || in.Key == nil || in.CopySource == nil {
		return d.Posix.CopyObject(ctx, in) // refused there
	}
	bucket, key, version, err := backend.ParseCopySource(*in.CopySource)
	if err != nil {
		return s3response.CopyObjectOutput{}, err
	}
	if version != "" || strings.HasSuffix(key, "/") || strings.HasSuffix(*in.Key, "/") ||
		(bucket == *in.Bucket && key == *in.Key) || (in.ExpectedSourceBucketOwner != nil && *in.ExpectedSourceBucketOwner != "") {
		return d.stockCopy(ctx, in)
	}
	src, info, err := d.openSource(bucket, key)
	if err != nil {
		return s3response.CopyObjectOutput{}, d.answer(ctx, "copy", bucket, key, err)
	}
	defer src.Close() // only read
	err = backend.EvaluatePreconditions(attribute(src, etagAttribute), info.ModTime(), backend.PreConditions{
		IfMatch: in.CopySourceIfMatch, IfNoneMatch: in.CopySourceIfNoneMatch,
		IfModSince: in.CopySourceIfModifiedSince, IfUnmodeSince: in.CopySourceIfUnmodifiedSince,
	})
	if err != nil {
		return s3response.CopyObjectOutput{}, err
	}
	tags, err := copiedTags(in, src)
	if err != nil {
		return s3response.CopyObjectOutput{}, err
	}
	out, err := d.publish(ctx, copyInput(in, src, info), tags)
	if err != nil {
		return s3response.CopyObjectOutput{}, err
	}
	now, err := os.Stat(filepath.Join(d.root, *in.Bucket, *in.Key))
	if err != nil {
		now = info // deleted already; the copy has been made all the same
	}
	modified := now.ModTime()
	return s3response.CopyObjectOutput{
		CopyObjectResult: &s3response.CopyObjectResult{
			ETag:              &out.ETag,
			LastModified:      &modified,
			ChecksumCRC32:     out.ChecksumCRC32,
			ChecksumCRC32C:    out.ChecksumCRC32C,
			ChecksumSHA1:      out.ChecksumSHA1,
			ChecksumSHA256:    out.ChecksumSHA256,
			ChecksumCRC64NVME: out.ChecksumCRC64NVME,
			ChecksumType:      out.ChecksumType,
		},
		VersionId:           &out.VersionID,
		CopySourceVersionId: &version,
	}, nil
}

// stockCopy leaves the rare forms to the backend and makes them durable: copies
// onto itself (new metadata or tags of data that stays), of directory markers,
// with an expected owner.
func (d *durable) stockCopy(ctx context.Context, in s3response.CopyObjectInput) (s3response.CopyObjectOutput, error) {
	out, err := d.Posix.CopyObject(ctx, in)
	if err == nil {
		err = errors.Join(d.syncObject(*in.Bucket, *in.Key), d.syncParents(*in.Bucket, *in.Key))
	}
	return out, d.answer(ctx, "copy", *in.Bucket, *in.Key, err)
}

func (d *durable) openSource(bucket, key string) (*os.File, fs.FileInfo, error) {
	noKey := s3err.GetAPIError(s3err.ErrNoSuchKey)
	if !filepath.IsLocal(filepath.Join(bucket, key)) || strings.Contains(bucket, "/") {
		return nil, nil, noKey
	}
	if _, err := os.Stat(filepath.Join(d.root, bucket)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, s3err.GetBucketErr(s3err.ErrNoSuchBucket, bucket)
	}
	f, err := os.Open(filepath.Join(d.root, bucket, key))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return nil, nil, noKey
	case err != nil:
		return nil, nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = noKey
	case info.Size() > copyLimit:
		err = s3err.GetCopySourceObjectTooLargeErr(copyLimit)
	}
	if err != nil {
		_ = f.Close() // only opened
		return nil, nil, err
	}
	return f, info, nil
}

// copiedTags returns the tags of the copy as they are stored.
func copiedTags(in s3response.CopyObjectInput, src *os.File) ([]byte, error) {
	if in.TaggingDirective != types.TaggingDirectiveReplace {
		tags, err := meta.XattrMeta{}.RetrieveAttribute(src, "", "", tagsAttribute)
		if errors.Is(err, meta.ErrNoSuchKey) {
			return nil, nil
		}
		return tags, err
	}
	var header string
	if in.Tagging != nil {
		header = *in.Tagging
	}
	tags, err := backend.ParseObjectTags(header)
	if err != nil || tags == nil {
		return nil, err
	}
	return json.Marshal(tags)
}

// copyInput describes the copy: with the source's metadata, or with new ones.
func copyInput(in s3response.CopyObjectInput, src *os.File, info fs.FileInfo) s3response.PutObjectInput {
	size := info.Size()
	put := s3response.PutObjectInput{
		Bucket: in.Bucket, Key: in.Key, Body: src, ContentLength: &size,
		ContentType: in.ContentType, ContentEncoding: in.ContentEncoding, ContentDisposition: in.ContentDisposition,
		ContentLanguage: in.ContentLanguage, CacheControl: in.CacheControl, Expires: in.Expires,
		Metadata: in.Metadata, WebsiteRedirectLocation: in.WebsiteRedirectLocation,
		ChecksumAlgorithm:         in.ChecksumAlgorithm,
		ObjectLockMode:            in.ObjectLockMode,
		ObjectLockRetainUntilDate: in.ObjectLockRetainUntilDate,
		ObjectLockLegalHoldStatus: in.ObjectLockLegalHoldStatus,
	}
	if put.ChecksumAlgorithm == "" {
		var stored s3response.Checksum
		if json.Unmarshal([]byte(attribute(src, "checksums")), &stored) == nil {
			put.ChecksumAlgorithm = stored.Algorithm
		}
	}
	if in.MetadataDirective == types.MetadataDirectiveReplace {
		return put
	}
	put.ContentType = optional(src, "content-type")
	put.ContentEncoding = optional(src, "content-encoding")
	put.ContentDisposition = optional(src, "content-disposition")
	put.ContentLanguage = optional(src, "content-language")
	put.CacheControl = optional(src, "cache-control")
	put.Expires = optional(src, "expires")
	put.Metadata = nil
	_ = json.Unmarshal([]byte(attribute(src, "metadata")), &put.Metadata) // absent: none
	return put
}

// attribute returns an extended attribute of an open object, "" if it has none.
func attribute(f *os.File, name string) string {
	b, err := meta.XattrMeta{}.RetrieveAttribute(f, "", "", name)
	if err != nil {
		return ""
	}
	return string(b)
}

func optional(f *os.File, name string) *string {
	if v := attribute(f, name); v != "" {
		return &v
	}
	return nil
}
