"""Configs as earlier versions wrote them: how such a file is read, and how today's configs keep recorded hashes.

Two things happen to a schema in the course of time. A key is added: `ADDED` says which of its values means what was
done before there was the key. A key moves or its values are renamed: `MOVED` and `RENAMED` say where it stood and what
its values were called. With these tables the config of an older run folder is read as if it had been written today, so
that the run can be resumed; and a recipe keeps the hash that it was recorded with.

All that has changed so far is of image recognition, once the only family. The configs of other families pass unchanged.
"""

_FIRST_FAMILY = "image_recognition"

# Dotted path of a key that is younger than recorded results → the value that means "as before". Every variant of the
# key's section has the key.
ADDED = {
    "family": _FIRST_FAMILY,
    "data.input_scaling": "none",
}

# Dotted path of a key → where the key stood before.
MOVED = {
    "similarity.normalization": "predictor.normalization",
    "similarity.gamma_initializer": "predictor.initializer",
    "similarity.filters": "predictor.filters",
    "similarity.init_scales": "predictor.init_scales",
    "similarity.batch_norm": "predictor.batch_norm",
    "similarity.decay_multiplier": "predictor.decay_multiplier",
    "model.attention": "attention.enabled",
    "model.query_relu": "attention.query_relu",
    "model.orthogonality": "loss.orthogonality",
    "batch_norm.debias": "batch_norm.moving_average",
}

# Dotted path of a key, where it stands today → {today's value: what the value was called}.
RENAMED = {
    "similarity.initializer": {"identity": "identity", "flattened_eye": "released"},
    "similarity.gamma_initializer": {"zeros": "identity", "ones": "released"},
    "batch_norm.debias": {True: "debiased", False: "released"},
}


def as_first_recorded(flat: dict) -> dict:
    """Today's `{dotted path: value}` as it was when results were first recorded, for hashing."""
    if flat["family"] != _FIRST_FAMILY:
        return flat
    flat = {path: value for path, value in flat.items() if not (path in ADDED and ADDED[path] == value)}
    return {MOVED.get(path, path): RENAMED[path][value] if path in RENAMED else value for path, value in flat.items()}


def as_today(document):
    """What an older run's `config.yaml` holds, in today's form. What is no mapping is returned as it is."""
    if not isinstance(document, dict) or not all(isinstance(document.get(s, {}), dict) for s in _SECTIONS):
        return document  # the check that follows says what is wrong
    if document.get("family", _FIRST_FAMILY) != _FIRST_FAMILY:
        return document
    document = {name: dict(value) if isinstance(value, dict) else value for name, value in document.items()}
    for now, before in MOVED.items():
        (section, key), (old_section, old_key) = now.split("."), before.split(".")
        if old_key in document.get(old_section, {}):
            document.setdefault(section, {})[key] = document[old_section].pop(old_key)
    for section in ("predictor", "attention"):
        if document.get(section) == {}:
            del document[section]
    for path, names in RENAMED.items():
        section, key = path.split(".")
        values = document.get(section, {})
        today = {before: now for now, before in names.items()}
        if isinstance(values.get(key), str) and values[key] in today:
            values[key] = today[values[key]]
    similarity = document.get("similarity", {})
    if similarity.get("structure") == "unconstrained" and similarity.get("initializer") == "flattened_eye":
        similarity["initializer"] = "identity"  # of an unconstrained M the two were the same
    for path, value in ADDED.items():
        section, _, key = path.partition(".")
        if not key:
            document = {path: value, **document} if path not in document else document
        elif section in document:
            document[section].setdefault(key, value)
    return document


_SECTIONS = {path.split(".")[0] for path in (*MOVED.values(), *RENAMED, *ADDED) if "." in path}
