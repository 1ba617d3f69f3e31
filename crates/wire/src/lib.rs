//! Azure's JSON, URLs and error bodies, and the route table.
