# As much of nixpkgs' `lib` as the modules of this repository use, with its rules: an undeclared option
# is an error, so is a value of the wrong type, a second value of an option that takes one, and an option that is
# read and has none. There is no nixpkgs where the tests run.
let
  inherit (builtins)
    attrNames
    concatMap
    elem
    filter
    foldl'
    hasAttr
    head
    isAttrs
    isBool
    isFunction
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    map
    mapAttrs
    match
    replaceStrings
    stringLength
    substring
    tail
    toJSON
    ;

  concatStringsSep = builtins.concatStringsSep;
  concatStrings = concatStringsSep "";
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  unique = foldl' (found: item: if elem item found then found else found ++ [ item ]) [ ];
  show = value: if isFunction value then "a function" else toJSON value;

  # Properties of definitions.
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  kind = value: if isAttrs value then value._type or "" else "";

  # A definition as plain ones, each with its priority.
  expand =
    value:
    {
      "if" = if value.condition then expand value.content else [ ];
      merge = concatMap expand value.contents;
      override = map (found: found // { inherit (value) priority; }) (expand value.content);
    }
    .${kind value} or [
      {
        priority = 100;
        inherit value;
      }
    ];

  # A definition of a set of options as plain sets, its properties at the options: which options are set must not
  # depend on a condition, because conditions ask for options.
  push =
    value:
    {
      "if" = map (mapAttrs (_: mkIf value.condition)) (push value.content);
      merge = concatMap push value.contents;
      override = map (mapAttrs (_: mkOverride value.priority)) (push value.content);
    }
    .${kind value} or [ value ];

  # The definitions of strongest priority, as values.
  strongest =
    definitions:
    let
      best = foldl' (best: found: if found.priority < best then found.priority else best) 1500 definitions;
    in
    map (found: found.value) (filter (found: found.priority == best) definitions);

  # Types: a name, a check, and how definitions come together.
  one =
    place: values:
    if length values == 1 then
      head values
    else if length (unique values) == 1 then
      head values
    else
      throw "The option `${place}' has conflicting definition values: ${show values}";
  scalar = name: check: {
    inherit name check;
    merge = one;
  };
  checked =
    type: place: value:
    if type.check value then
      value
    else
      throw "A definition for option `${place}' is not of type `${type.name}': ${show value}";
  mergeOf =
    type: place: definitions:
    type.merge place (map (checked type place) (strongest definitions));

  isAbsolute = value: isPath value || (isString value && hasPrefix "/" value) || (isAttrs value && value ? outPath);
  isPackage = value: isAttrs value && (value.type or "") == "derivation";

  types = rec {
    bool = scalar "boolean" isBool;
    str = scalar "string" isString;
    path = scalar "absolute path" isAbsolute;
    package = scalar "package" isPackage;
    ints.positive = scalar "positive integer" (value: isInt value && value > 0);
    enum = values: scalar "one of ${show values}" (value: elem value values);
    strMatching =
      pattern: scalar "string matching ${pattern}" (value: isString value && match pattern value != null);
    anything = scalar "anything" (_: true);
    nullOr = type: scalar "null or ${type.name}" (value: value == null || type.check value);
    listOf = type: {
      name = "list of ${type.name}";
      check = isList;
      merge = place: values: map (checked type place) (concatMap (value: value) values);
    };
    attrsOf = type: {
      name = "attribute set of ${type.name}";
      check = isAttrs;
      merge =
        place: values:
        listToAttrs (
          concatMap (
            name:
            let
              definitions = concatMap (value: if hasAttr name value then expand value.${name} else [ ]) values;
            in
            if definitions == [ ] then
              [ ]
            else
              [
                {
                  inherit name;
                  value = mergeOf type "${place}.${name}" definitions;
                }
              ]
          ) (unique (concatMap attrNames values))
        );
    };
    # A set with these options and no others.
    submodule = options: {
      name = "submodule";
      check = isAttrs;
      merge =
        place: values:
        (evaluate place options (map (config: { inherit config; }) values));
    };
  };

  mkOption = option: option // { _type = "option"; };
  isOption = value: kind value == "option";

  # Every option in the tree `options` with its value from the `config` of `modules`.
  evaluate =
    place: options: modules:
    let
      at = name: if place == "" then name else "${place}.${name}";
      sets = concatMap (module: push module.config) modules;
      below = name: concatMap (set: if hasAttr name set then [ set.${name} ] else [ ]) sets;
      unknown = filter (name: !hasAttr name options) (concatMap attrNames sets);
      value =
        name: option:
        let
          found = concatMap expand (below name);
        in
        if !isOption option then
          evaluate (at name) option (map (config: { inherit config; }) (below name))
        else if option.readOnly or false && length found > 1 then
          throw "The option `${at name}' is read-only, but it is set multiple times"
        else if found != [ ] then
          mergeOf option.type (at name) found
        else if option ? default then
          mergeOf option.type (at name) (expand option.default)
        else
          throw "The option `${at name}' is used but not defined";
    in
    if unknown != [ ] then
      throw "The option `${at (head unknown)}' does not exist"
    else
      mapAttrs value options;

  # Two trees of options as one.
  join =
    place: left: right:
    left
    // mapAttrs (
      name: option:
      if !hasAttr name left then
        option
      else if isOption option || isOption left.${name} then
        throw "The option `${place}${name}' is declared twice"
      else
        join "${place}${name}." left.${name} option
    ) right;

  # Modules with what they import; a file counts once.
  collect =
    arguments: seen: modules:
    foldl' (
      state: module:
      let
        key = if isPath module then toString module else null;
        loaded = if isPath module then import module else module;
        body = if isFunction loaded then loaded arguments else loaded;
        full =
          if body ? config || body ? options || body ? imports then
            body
          else
            { config = body; };
        inner = collect arguments {
          keys = state.keys ++ (if key == null then [ ] else [ key ]);
          inherit (state) found;
        } (full.imports or [ ]);
      in
      if key != null && elem key state.keys then
        state
      else
        inner // { found = inner.found ++ [ full ]; }
    ) seen modules;

  evalModules =
    { modules, arguments }:
    let
      all = (
        collect (arguments // { inherit config lib; }) {
          keys = [ ];
          found = [ ];
        } modules
      ).found;
      options = foldl' (join "") { } (map (module: module.options or { }) all);
      config = evaluate "" options (map (module: { config = module.config or { }; }) all);
    in
    config;

  lib = {
    inherit
      concatStrings
      concatStringsSep
      evalModules
      hasPrefix
      mkIf
      mkMerge
      mkOption
      mkOverride
      types
      ;
    inherit (builtins) all attrValues elem;
    mkForce = mkOverride 50;
    mkDefault = mkOverride 1000;
    mkEnableOption =
      text:
      mkOption {
        type = types.bool;
        default = false;
        description = "Whether to enable ${text}.";
      };
    literalExpression = text: { inherit text; };
    optional = condition: item: if condition then [ item ] else [ ];
    optionalString = condition: text: if condition then text else "";
    mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
    genAttrs =
      names: f:
      listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    hasInfix = part: text: replaceStrings [ part ] [ "" ] text != text;
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    makeSearchPath = dir: packages: concatStringsSep ":" (map (package: "${package}/${dir}") packages);
    makeBinPath = lib.makeSearchPath "bin";
    importTOML = file: builtins.fromTOML (builtins.readFile file);
    licenses = {
      mit = "MIT";
      asl20 = "Apache-2.0";
    };
    platforms.linux = [ "x86_64-linux" ];
    fileset = {
      unions = files: files;
      toSource = source: source;
    };
  };
in
lib
