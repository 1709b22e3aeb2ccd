<?php
/*
 * php wp.php SITE VERB …: what wp-cli would do, through WordPress itself (Debian has no wp-cli).
 * Runs as the site's Unix user. SITE names /etc/wordpress/config-SITE.php, or is the folder of an
 * installation, such as /var/www/wordpress. Answers are JSON.
 *
 * is-installed            exit 0 when the database holds a site, else 1
 * install JSON            title, mail, locale, timezone; the administrator's password on stdin
 * is-current              exit 0 when the database has the code's version
 * upgrade                 the database to the code's version, caches flushed; repeatable
 * cron                    what WordPress has planned and what is due
 * counts, versions        one JSON object
 * canary-plant RUN AT     a private page such as an editor could have made; the last five stay
 * canary-find             JSON list of {"run", "at"}
 * sample                  an article with a picture and a comment, as members leave them
 * get NAMES SECRETS       values of options, of "locale" and of "updates:…"; no secrets here
 * set SECRETS             {name: value} on standard input; what differs is set and read back
 */

if (PHP_SAPI !== 'cli' || $argc < 3 || !preg_match('#^([a-z0-9-]+|/var/www/[a-z0-9_-]+)$#D', $argv[1])) {
    fwrite(STDERR, "usage: php wp.php SITE VERB [ARGUMENT…]\n");
    exit(64);
}
[, $site, $verb] = $argv;
$arguments = array_slice($argv, 3);
$needed = ['install' => 1, 'canary-plant' => 2, 'get' => 2, 'set' => 1];
if (count($arguments) !== ($needed[$verb] ?? 0)) {
    fwrite(STDERR, "wp.php: wrong number of arguments for $verb\n");
    exit(64);
}

$root = $site[0] === '/' ? $site : '/usr/share/wordpress';
$config = $site[0] === '/' ? "$site/wp-config.php" : "/etc/wordpress/config-$site.php";
if (!is_readable($config)) {
    fwrite(STDERR, "wp.php: $config cannot be read: deploy the service first\n");
    exit(1);
}
// What a request would have brought along; the config file says the site's real address.
$_SERVER['WORDPRESS_CONFIG'] = $site;
$_SERVER['HTTP_HOST'] = $_SERVER['SERVER_NAME'] = 'localhost';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
$_SERVER['REQUEST_METHOD'] = 'GET';
$_SERVER['REQUEST_URI'] = '/';
$_SERVER['REMOTE_ADDR'] = '127.0.0.1';
$_SERVER['HTTPS'] = 'on';
if ($verb === 'is-installed' || $verb === 'install') {
    define('WP_INSTALLING', true);
}
if ($verb === 'cron') {
    define('DOING_CRON', true);
}
if (in_array($verb, ['is-installed', 'is-current', 'counts', 'versions'], true)) {
    // Only the database is asked: without plugins and themes that takes a third of the time, and
    // none of them can be in the way.
    define('SHORTINIT', true);
}
if ($verb === 'install') {
    // wp_install() would send a mail with the password's whereabouts; the admin knows them.
    function wp_new_blog_notification(...$ignored) {}
    $password = trim((string) fgets(STDIN));
    if ($password === '') {
        fwrite(STDERR, "wp.php: no password on standard input\n");
        exit(64);
    }
}

define('CANARY', 'releve_canary');

// WordPress answers an empty database with a redirect and a dead one with a page, and ends with
// code 0 both times.
$loaded = false;
register_shutdown_function(function () use (&$loaded): void {
    if (!$loaded) {
        $page = preg_replace('#<(style|script|head)\b.*?</\1>#si', ' ', (string) ob_get_clean());
        $said = trim(preg_replace('/\s+/', ' ', strip_tags((string) $page)));
        fwrite(STDERR, 'wp.php: WordPress ended early: ' . mb_substr($said, 0, 300) . "\n");
        exit(1);
    }
});
ob_start();
require "$root/wp-load.php";
// A theme or plugin may print; an answer must stay JSON.
ob_end_clean();
$loaded = true;

function answer($value): void
{
    echo json_encode($value, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR), "\n";
}

function fail(string $message): never
{
    fwrite(STDERR, "wp.php: $message\n");
    exit(1);
}

/** Newest first. */
function canaries(): array
{
    return get_posts([
        'post_type' => 'page', 'post_status' => 'private', 'meta_key' => CANARY,
        'numberposts' => -1, 'orderby' => 'ID', 'order' => 'DESC', 'suppress_filters' => true,
    ]);
}

function install(array $wanted, string $password): void
{
    require_once ABSPATH . 'wp-admin/includes/upgrade.php';
    if (is_blog_installed()) {
        return;
    }
    // As wp-admin/install.php does it: the first pages are in the site's language.
    load_default_textdomain($wanted['locale']);
    $GLOBALS['wp_locale'] = new WP_Locale();
    $done = wp_install(
        $wanted['title'], 'admin', $wanted['mail'], true, '', wp_slash($password), $wanted['locale']
    );
    if (is_wp_error($done)) {
        fail($done->get_error_message());
    }
    update_option('timezone_string', $wanted['timezone']);
    // Readable addresses; nginx sends all of them to index.php.
    update_option('permalink_structure', '/%year%/%monthnum%/%postname%/');
    // Strangers do not register, and comments wait until somebody has looked at them.
    update_option('users_can_register', 0);
    update_option('comment_moderation', 1);
    flush_rewrite_rules(false);
}

function upgrade(): void
{
    require_once ABSPATH . 'wp-admin/includes/upgrade.php';
    wp_upgrade();
    wp_cache_flush();
    delete_expired_transients(true);
    flush_rewrite_rules(false);
}

function counts(): array
{
    global $wpdb;
    $of = fn (string $type): int => (int) $wpdb->get_var($wpdb->prepare(
        "SELECT COUNT(*) FROM $wpdb->posts p WHERE post_type = %s AND post_status <> 'auto-draft'
         AND NOT EXISTS (SELECT 1 FROM $wpdb->postmeta m WHERE m.post_id = p.ID AND m.meta_key = %s)",
        $type, CANARY
    ));
    return [
        'posts' => $of('post'),
        'pages' => $of('page'),
        'attachments' => $of('attachment'),
        'comments' => (int) $wpdb->get_var("SELECT COUNT(*) FROM $wpdb->comments"),
        'users' => (int) $wpdb->get_var("SELECT COUNT(*) FROM $wpdb->users"),
    ];
}

function versions(): array
{
    global $wpdb, $wp_version, $wp_db_version;
    return [
        'wordpress' => (string) $wp_version,
        'tables' => (string) get_option('db_version'),
        'php' => PHP_VERSION,
        'mariadb' => (string) $wpdb->get_var('SELECT VERSION()'),
        'theme' => (string) get_option('stylesheet'),
    ];
}

function plant(string $run, string $at): void
{
    if (!preg_match('/^[A-Za-z0-9._:-]{1,100}$/D', $run) || strtotime($at) === false) {
        fail('a run is named by letters, digits and . _ : - and its time is ISO 8601');
    }
    $author = get_users(['role' => 'administrator', 'number' => 1, 'fields' => 'ID']);
    $page = wp_insert_post([
        'post_type' => 'page', 'post_status' => 'private', 'post_author' => $author[0] ?? 0,
        'post_title' => "Relève $run",
        'post_content' => "Written by the backup run $run at $at. It may be deleted.",
    ], true);
    if (is_wp_error($page)) {
        fail($page->get_error_message());
    }
    add_post_meta($page, CANARY, wp_slash(json_encode(['run' => $run, 'at' => $at])), true);
    foreach (array_slice(canaries(), 5) as $old) {
        wp_delete_post($old->ID, true);
    }
    answer(['run' => $run, 'at' => $at]);
}

function find(): array
{
    $found = [];
    foreach (canaries() as $page) {
        $mark = json_decode((string) get_post_meta($page->ID, CANARY, true), true);
        // The page itself must be whole, not only the mark on it.
        if (isset($mark['run'], $mark['at']) && str_contains($page->post_content, $mark['run'])) {
            $found[] = ['run' => $mark['run'], 'at' => $mark['at']];
        }
    }
    return $found;
}

function sample(): void
{
    // A picture of one point: what counts is that a file and its rows belong together.
    $picture = wp_upload_bits('marché.gif', null, base64_decode('R0lGODlhAQABAAAAACw='));
    if ($picture['error']) {
        fail((string) $picture['error']);
    }
    $article = wp_insert_post([
        'post_type' => 'post', 'post_status' => 'publish',
        'post_title' => 'Marché de Noël : l’équipe s’organise',
        'post_content' => 'Rendez-vous à 18 h à la maison de santé. ☃',
    ], true);
    if (is_wp_error($article)) {
        fail($article->get_error_message());
    }
    $attached = wp_insert_attachment(
        ['post_mime_type' => 'image/gif', 'post_title' => 'Marché', 'post_status' => 'inherit'],
        $picture['file'], $article, true
    );
    $comment = wp_insert_comment([
        'comment_post_ID' => $article, 'comment_author' => 'bénévole', 'comment_approved' => 1,
        'comment_content' => 'J’apporte le vin chaud.',
    ]);
    if (is_wp_error($attached) || !$comment) {
        fail('the picture or the comment was not taken');
    }
    answer(['posts' => 1, 'attachments' => 1, 'comments' => 1]);
}

/** The companion-auto-update plugin, which YunoHost's package installs, keeps its own table. */
function companion(): ?string
{
    global $wpdb;
    $table = $wpdb->prefix . 'auto_updates';
    return $wpdb->get_var($wpdb->prepare('SHOW TABLES LIKE %s', $wpdb->esc_like($table))) ? $table : null;
}

function value_now(string $name): mixed
{
    global $wpdb;
    if ($name === 'locale') {
        // An empty WPLANG is WordPress' own English.
        return get_option('WPLANG') ?: 'en_US';
    }
    if (str_starts_with($name, 'updates:')) {
        $what = substr($name, 8);
        if ($table = companion()) {
            $sql = $wpdb->prepare("SELECT onoroff FROM $table WHERE name = %s", $what);
            return $wpdb->get_var($sql) === 'on';
        }
        if ($what === 'minor' || $what === 'major') {
            return get_site_option("auto_update_core_$what", 'enabled') === 'enabled';
        }
        $kind = $what === 'plugins' ? array_keys(get_plugins()) : array_keys(wp_get_themes());
        return $kind !== [] && array_diff($kind, (array) get_site_option("auto_update_$what", [])) === [];
    }
    $value = get_option($name, null);
    // WordPress keeps a site's name as HTML.
    return is_string($value) ? wp_specialchars_decode($value, ENT_QUOTES) : $value;
}

/** Returns why it cannot be, null when it was done. */
function set_value(string $name, mixed $value): ?string
{
    global $wpdb;
    if ($name === 'locale') {
        require_once ABSPATH . 'wp-admin/includes/translation-install.php';
        if ($value !== 'en_US' && !in_array($value, get_available_languages(), true)
            && !wp_download_language_pack($value)) {
            return "the language $value is not here and could not be fetched";
        }
        update_option('WPLANG', $value === 'en_US' ? '' : $value);
        return null;
    }
    if (str_starts_with($name, 'updates:')) {
        $what = substr($name, 8);
        if ($table = companion()) {
            $wpdb->update($table, ['onoroff' => $value ? 'on' : ''], ['name' => $what]);
        } elseif ($what === 'minor' || $what === 'major') {
            update_site_option("auto_update_core_$what", $value ? 'enabled' : 'disabled');
        } else {
            $all = $what === 'plugins' ? array_keys(get_plugins()) : array_keys(wp_get_themes());
            update_site_option("auto_update_$what", $value ? $all : []);
        }
        return null;
    }
    update_option($name, $value);
    return null;
}

function same(mixed $here, mixed $wanted): bool
{
    return is_bool($wanted) ? (bool) $here === $wanted : (string) $here === (string) $wanted;
}

if (in_array($verb, ['get', 'set'], true)) {
    require_once ABSPATH . 'wp-admin/includes/plugin.php';
}
if ($verb === 'is-installed') {
    exit(is_blog_installed() ? 0 : 1);
}
if ($verb !== 'install' && !is_blog_installed()) {
    fail("the database of $site holds no WordPress site");
}
switch ($verb) {
    case 'install':
        install(json_decode($arguments[0], true, 4, JSON_THROW_ON_ERROR), $password);
        break;
    case 'is-current':
        exit((int) get_option('db_version') === (int) $wp_db_version ? 0 : 1);
    case 'upgrade':
        upgrade();
        break;
    case 'cron':
        foreach (wp_get_ready_cron_jobs() as $time => $hooks) {
            foreach ($hooks as $hook => $events) {
                foreach ($events as $event) {
                    if ($event['schedule'] !== false) {
                        wp_reschedule_event($time, $event['schedule'], $hook, $event['args']);
                    }
                    wp_unschedule_event($time, $hook, $event['args']);
                    do_action_ref_array($hook, $event['args']);
                }
            }
        }
        break;
    case 'counts':
        answer(counts());
        break;
    case 'versions':
        answer(versions());
        break;
    case 'canary-plant':
        plant($arguments[0], $arguments[1]);
        break;
    case 'canary-find':
        answer(find());
        break;
    case 'sample':
        sample();
        break;
    case 'get':
        $found = [];
        foreach (json_decode($arguments[0], true, 4, JSON_THROW_ON_ERROR) as $name) {
            $found[$name] = value_now($name);
        }
        answer((object) $found);
        break;
    case 'set':
        $wanted = json_decode((string) stream_get_contents(STDIN), true, 4, JSON_THROW_ON_ERROR);
        $changed = array_filter(
            array_keys($wanted), fn (string $name): bool => !same(value_now($name), $wanted[$name])
        );
        // One that cannot be, such as a language while the network is gone, holds up no other.
        $why = [];
        foreach ($changed as $name) {
            $why[$name] = set_value($name, $wanted[$name]);
        }
        $refused = array_filter($why);
        $wrong = array_filter(
            $changed,
            fn (string $n): bool => $why[$n] === null && !same(value_now($n), $wanted[$n])
        );
        if ($wrong !== []) {
            $refused[] = 'set, but does not read back as wanted: ' . implode(', ', $wrong);
        }
        if ($refused !== []) {
            fail(implode('; ', $refused) . '. Everything else is set');
        }
        answer(['changed' => array_values($changed)]);
        break;
    default:
        fwrite(STDERR, "wp.php: unknown verb\n");
        exit(64);
}
