
# A text as a string of JavaScript.
mongodb_quoted() { printf '"%s"' "$(printf '%s' "$1" | sed -e 's/[\\"]/\\&/g')"; }

# Both shells read a script from standard input, and write prompts before what it prints.
mongodb_js() {
    {
        [ -z "$user" ] || printf '%s\n' "$login"
        printf '%s\n' "$1"
    } | "$client" --quiet --norc --host 127.0.0.1 2>&1
}

ask_mongodb() {
    user=$wanted_user
    [ -n "$user" ] || user=$(setting MONGO_INITDB_ROOT_USERNAME MONGODB_ROOT_USER)
    password=$(setting MONGO_INITDB_ROOT_PASSWORD MONGODB_ROOT_PASSWORD)
    [ -n "$user" ] || [ -z "$password" ] || user=root
    database=$wanted_database
    [ -n "$database" ] || database=$(setting MONGO_INITDB_DATABASE MONGODB_DATABASE)
    client=$(program mongosh mongo) || { say noclient 'there is no `mongosh` or `mongo` in its container'; return; }
    login="db.getSiblingDB('admin').auth($(mongodb_quoted "$user"), $(mongodb_quoted "$password"));"
    case $op in
        locate) todo= ;;
        seed) todo="c.deleteMany({}); c.insertOne({_id: 'marker', marker: '$value'});" ;;
        read) todo= ;;
        overwrite) todo="c.updateMany({}, {\$set: {marker: '$value'}});" ;;
        drop) todo="c.drop(); if (d.getCollectionNames().indexOf('$table') >= 0) print('value:left');" ;;
    esac
    # All in one function: what a shell answers to each line is chatter. The app's database is the one that is named if
    # it has collections, else the largest.
    output=$(mongodb_js "(function () {
        var want = $(mongodb_quoted "$database"), fixed = $([ -n "$wanted_database" ] && echo true || echo false);
        var own = ['admin', 'local', 'config'], all = db.adminCommand({listDatabases: 1});
        if (!all.ok) { print('error:' + all.errmsg); return; }
        var there = all.databases.filter(function (one) { return own.indexOf(one.name) < 0 && !one.empty; });
        there.sort(function (a, b) { return b.sizeOnDisk - a.sizeOnDisk; });
        var named = there.some(function (one) { return one.name === want; });
        var name = fixed || named || !there.length ? want : there[0].name;
        if (!name) { print('error:it has no database but its own'); return; }
        print('in:' + name + ':end');
        var options = db.adminCommand({getCmdLineOpts: 1});
        var path = options.ok && options.parsed && options.parsed.storage && options.parsed.storage.dbPath;
        print('at:' + (path || '/data/db') + ':end');
        var d = db.getSiblingDB(name), c = d.getCollection('$table');
        $todo
        if ('$op' !== 'drop' && '$op' !== 'locate') c.find().forEach(function (one) { print('value:' + one.marker); });
        print('over:' + 'ok');
    })();")
    named=$(printf '%s\n' "$output" | sed -n 's/.*in:\(.*\):end.*/\1/p')
    [ -z "$named" ] || database=$named
    directory=$(printf '%s\n' "$output" | sed -n 's/.*at:\(.*\):end.*/\1/p')
    case $output in
        *over:ok*) say done "$(values)" ;;
        *ECONNREFUSED* | *"couldn't connect"* | *'onnection refused'*) say wait "$(complaint)" ;;
        *Unauthorized* | *'uthentication fail'* | *'requires authentication'* | *'not authorized'*)
            say refused "$(printf '%s\n' "$output" | grep -i -e auth | head -n 1)" ;;
        *) say failed "$(printf '%s\n' "$output" | grep -i -e error | head -n 1)" ;;
    esac
}
