"""A laila pool on S3 and every compatible service, by the Rust object_store."""
