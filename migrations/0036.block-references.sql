-- Which blocks refer to which: asked by the other end, by the page of a block and before it is deleted.

CREATE TABLE IF NOT EXISTS block_references (
  refers_to TEXT NOT NULL,
  document_id TEXT NOT NULL,
  PRIMARY KEY (refers_to, document_id)
);

CREATE INDEX IF NOT EXISTS block_references_by_document ON block_references (document_id);
