# frozen_string_literal: true

# rails runner forum.rb VERB: what only Discourse itself can change. Run by forum.py, as the app;
# what it needs is JSON on standard input; the last line it prints is JSON.
#
# set     {name: value}: site settings, "category_mail:SLUG" => the address that opens topics,
#         "category_strangers:SLUG" => whether people without an account may
# plant   {title, text, like}: a topic for staff only; of those like it, the last five stay
# sample  a topic with an answer

require "json"

verb = ARGV.fetch(0)
given = JSON.parse(STDIN.read) || {}

def say(value)
  puts JSON.generate(value)
end

# Discourse looks at some settings when others are switched on: it logs in to the mailbox when
# polling is, and wants an address before it takes replies. What they look at comes first.
LAST = %w[pop3_polling_enabled reply_by_email_enabled email_in].freeze

def set_all(given)
  wrong = {}
  names = given.keys.sort_by { |name| [LAST.index(name) || -1, name] }
  names.each do |name|
    value = given[name]
    if (words = name.match(/\Acategory_(mail|strangers):(.+)\z/))
      category = Category.find_by(slug: words[2])
      if category.nil?
        wrong[name] = "there is no such category"
      elsif words[1] == "mail"
        category.update!(email_in: value.presence)
      else
        category.update!(email_in_allow_strangers: value)
      end
    elsif !SiteSetting.respond_to?(name)
      wrong[name] = "this release has no such setting"
    elsif SiteSetting.public_send(name) == value
      # Discourse writes down nothing that does not change (set_and_log, default_locale=), and
      # forum.py reads what is written: what is a default today is another one after an update.
      SiteSetting.add_override!(name.to_sym, value)
    else
      SiteSetting.set_and_log(name, value, Discourse.system_user)
    end
  rescue Discourse::InvalidParameters, ActiveRecord::RecordInvalid => e
    # Discourse's sentence, which never holds the value of a secret setting.
    wrong[name] = e.message
  end
  { "wrong" => wrong }
end

def plant(given)
  post =
    PostCreator.create!(
      Discourse.system_user,
      title: given.fetch("title"),
      raw: given.fetch("text"),
      archetype: Archetype.private_message,
      target_group_names: Group[:admins].name,
      skip_validations: true,
      skip_jobs: true,
      import_mode: true,
    )
  Topic
    .where("title LIKE ?", given.fetch("like"))
    .where(user_id: Discourse.system_user.id)
    .order(id: :desc)
    .offset(5)
    .each { |old| PostDestroyer.new(Discourse.system_user, old.first_post).destroy }
  { "topic" => post.topic_id }
end

def sample
  post =
    PostCreator.create!(
      Discourse.system_user,
      title: "Marché de Noël : l’équipe s’organise",
      raw: "Rendez-vous à 18 h à la maison de santé. ☃ Qui apporte le vin chaud ?",
      category: SiteSetting.uncategorized_category_id,
      skip_validations: true,
    )
  PostCreator.create!(
    Discourse.system_user,
    topic_id: post.topic_id,
    raw: "J’apporte le vin chaud et les crêpes.",
    skip_validations: true,
  )
  { "topics" => 1, "posts" => 2 }
end

case verb
when "set"
  say(set_all(given))
when "plant"
  say(plant(given))
when "sample"
  say(sample)
else
  warn "unknown verb"
  exit 64
end
