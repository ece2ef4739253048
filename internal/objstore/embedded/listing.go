package embedded

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/gofiber/fiber/v3"
	"github.com/versity/versitygw/backend/meta"
)

// tagListings adds MinIO's extension metadata=true to ListObjectsV2: each
// object of the answer carries its tags as UserTags, url-encoded. The request
// has been authorised, and answered, before anything is added.
func tagListings(root string) fiber.Handler {
	return func(c fiber.Ctx) error {
		asked := c.Method() == http.MethodGet && c.Query("metadata") == "true" && c.Query("list-type") == "2"
		if !asked {
			return c.Next()
		}
		bucket := strings.Clone(strings.Trim(c.Path(), "/")) // fiber reuses the path's memory
		if err := c.Next(); err != nil || c.Response().StatusCode() != http.StatusOK {
			return err
		}
		tags := func(key string) map[string]string { return storedTags(filepath.Join(root, bucket), key) }
		c.Response().SetBody(addTags(c.Response().Body(), tags))
		return nil
	}
}

// addTags puts a UserTags element at the end of each Contents element. A body
// that is no listing is returned unchanged.
func addTags(body []byte, tags func(key string) map[string]string) []byte {
	var listing struct {
		EncodingType string
		Contents     []struct{ Key string }
	}
	if xml.Unmarshal(body, &listing) != nil {
		return body
	}
	closing := []byte("</Contents>") // cannot occur in escaped text
	parts := bytes.SplitAfter(body, closing)
	if len(parts) != len(listing.Contents)+1 {
		return body
	}
	var out bytes.Buffer
	out.Grow(len(body) * 2)
	for i, object := range listing.Contents {
		out.Write(bytes.TrimSuffix(parts[i], closing))
		key := object.Key
		if listing.EncodingType == "url" {
			if plain, err := url.QueryUnescape(key); err == nil {
				key = plain
			}
		}
		if found := tags(key); len(found) > 0 {
			values := url.Values{}
			for name, value := range found {
				values.Set(name, value)
			}
			out.WriteString("<UserTags>")
			_ = xml.EscapeText(&out, []byte(values.Encode())) // a buffer takes everything
			out.WriteString("</UserTags>")
		}
		out.Write(closing)
	}
	out.Write(parts[len(parts)-1])
	return out.Bytes()
}

func storedTags(bucketDir, key string) map[string]string {
	b, err := meta.XattrMeta{}.RetrieveAttribute(nil, bucketDir, key, tagsAttribute)
	if err != nil {
		return nil // no tags, or the object has gone
	}
	var tags map[string]string
	if json.Unmarshal(b, &tags) != nil {
		return nil
	}
	return tags
}
