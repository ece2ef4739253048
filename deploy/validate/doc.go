// Package validate holds the deployment files to what they promise, without a
// container engine or a cluster: each is decoded strictly into the types of the
// project that reads it, and claims about it are tests. It is a module of its
// own, so that their libraries are nobody else's dependency.
package validate
