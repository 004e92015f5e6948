-- The feed of emissions (Prefect's public events) and the index of the resources they name: derived
-- read models that follow the log.

CREATE TABLE IF NOT EXISTS emissions (
  position BIGINT NOT NULL PRIMARY KEY,
  id TEXT NOT NULL,
  occurred BIGINT NOT NULL,
  received BIGINT NOT NULL,
  event TEXT NOT NULL,
  resource_id TEXT NOT NULL,
  -- How a count by resource labels it: `prefect.resource.name`, else `prefect.name`, else its id.
  resource_name TEXT NOT NULL,
  follows TEXT,
  -- Text search looks here: a column of its own would double the largest table that there is.
  document TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS emissions_by_id ON emissions (id);

-- The feed itself, in both directions, and counts over a window.
CREATE INDEX IF NOT EXISTS emissions_by_occurred ON emissions (occurred, event, resource_id);

-- One kind of emission, newest first.
CREATE INDEX IF NOT EXISTS emissions_by_event ON emissions (event, occurred);

-- One row per resource that an emission names: the one it is about (n 0, role '') and the related
-- ones in their order.
CREATE TABLE IF NOT EXISTS emission_resources (
  position BIGINT NOT NULL,
  n BIGINT NOT NULL,
  occurred BIGINT NOT NULL,
  resource_id TEXT NOT NULL,
  role TEXT NOT NULL,
  -- The resource as the client sent it, a JSON object of strings: what label filters match.
  labels TEXT NOT NULL,
  PRIMARY KEY (position, n)
);

-- What happened to this resource lately. It answers filters on the resource itself, on related ones
-- and on any, so `emissions` needs no index on its resource. `occurred` is repeated here to bound
-- the scan by the window that every filter has.
CREATE INDEX IF NOT EXISTS emission_resources_by_resource ON emission_resources (resource_id, occurred);
